//! Signatures and policies, as the SDK meets them.

use aws_sdk_ec2::types::{ResourceType, Volume};
use ec2_sim_sdk_tests::{Simulator, code, status_and_code};

use crate::account::{ZONE, tag, tagged};

/// An administrator, and a driver whose policy is that of CSI drivers in small.
const KEYS: &str = r#"
access-keys:
- access-key-id: AKIAADMIN
  secret-access-key: admin/secret+
  policies:
  - {Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}
- access-key-id: AKIADRIVER
  secret-access-key: driver-secret
  policies:
  - Version: "2012-10-17"
    Statement:
    - {Effect: Allow, Action: "ec2:Describe*", Resource: "*"}
    - Effect: Allow
      Action: ["ec2:CreateVolume"]
      Resource: "arn:aws:ec2:*:*:volume/*"
      Condition: {StringEquals: {"aws:RequestTag/owner": driver}}
    - Effect: Allow
      Action: "ec2:CreateTags"
      Resource: "*"
      Condition: {StringEquals: {"ec2:CreateAction": CreateVolume}}
    - Effect: Allow
      Action: ["ec2:DeleteVolume"]
      Resource: "*"
      Condition: {StringEquals: {"ec2:ResourceTag/owner": driver}}
"#;

#[tokio::test]
async fn a_request_signed_with_another_secret_or_by_nobody_known_is_refused() {
    let simulator = Simulator::guarded(KEYS).await;
    let describe = async |id: &str, secret: &str| status_and_code(simulator.client_of(id, secret).describe_volumes().send().await);
    let refused = (401, "AuthFailure".to_owned());
    assert_eq!(describe("AKIAADMIN", "admin/secret+").await, (200, "ok".to_owned()));
    assert_eq!(describe("AKIAADMIN", "another").await, refused);
    assert_eq!(describe("AKIADRIVER", "admin/secret+").await, refused);
    assert_eq!(describe("AKIANOBODY", "admin/secret+").await, refused);
}

#[tokio::test]
async fn a_driver_makes_and_deletes_what_has_its_tag_and_nothing_else() {
    let simulator = Simulator::guarded(KEYS).await;
    let (admin, driver) = (simulator.client_of("AKIAADMIN", "admin/secret+"), simulator.client_of("AKIADRIVER", "driver-secret"));
    let denied = (403, "UnauthorizedOperation".to_owned());
    let create = || driver.create_volume().size(1).availability_zone(ZONE);
    assert_eq!(status_and_code(create().send().await), denied);
    assert_eq!(status_and_code(create().tag_specifications(tagged(ResourceType::Volume, "owner", "me")).send().await), denied);
    let own = create().tag_specifications(tagged(ResourceType::Volume, "owner", "driver")).send().await.unwrap().volume_id.unwrap();
    let foreign = admin.create_volume().size(1).availability_zone(ZONE).send().await.unwrap().volume_id.unwrap();
    assert_eq!(status_and_code(driver.delete_volume().volume_id(&foreign).send().await), denied);
    assert_eq!(code(driver.create_tags().resources(&foreign).tags(tag("owner", "driver")).send().await), "UnauthorizedOperation");
    assert_eq!(code(driver.delete_volume().volume_id(own).send().await), "ok");
    let left = admin.describe_volumes().send().await.unwrap();
    assert_eq!(left.volumes().iter().filter_map(Volume::volume_id).collect::<Vec<_>>(), [foreign.as_str()]);
}

#[tokio::test]
async fn a_dry_run_tells_what_may_be_done_and_a_denial_says_so_in_code() {
    let simulator = Simulator::guarded(KEYS).await;
    let (admin, driver) = (simulator.client_of("AKIAADMIN", "admin/secret+"), simulator.client_of("AKIADRIVER", "driver-secret"));
    let allowed = admin.create_volume().size(1).availability_zone(ZONE).dry_run(true).send().await;
    assert_eq!(code(allowed), "DryRunOperation");
    let denied = driver.create_volume().size(1).availability_zone(ZONE).dry_run(true).send().await;
    let message = denied.as_ref().unwrap_err().as_service_error().unwrap().meta().message().unwrap().to_owned();
    assert!(message.contains("Encoded authorization failure message: "), "{message}");
    assert_eq!(code(denied), "UnauthorizedOperation");
}
