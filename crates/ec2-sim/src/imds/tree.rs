//! What the metadata service of an instance says, path by path. Pure.
//!
//! Paths from "Instance metadata categories" (EC2 User Guide), the identity document from
//! "Instance identity documents". Left out: everything about networks, users, keys and roles.

use serde_json::json;

use crate::world::{ACCOUNT_ID, Instance, InstanceType, Volume, time, zone_id};

/// The name of the root device, of which there is no volume here.
const ROOT_DEVICE: &str = "/dev/xvda";
/// The image of an instance whose launch named none.
const NO_IMAGE: &str = "ami-00000000000000000";

/// The text at a path such as `latest/meta-data/instance-id`; none where there is nothing.
pub(super) fn text(instance: &Instance, volumes: &[&Volume], path: &str) -> Option<String> {
    let leaves = leaves(instance, volumes);
    let path = path.trim_matches('/');
    if let Some((_, text)) = leaves.iter().find(|(leaf, _)| leaf == path) {
        return Some(text.clone());
    }
    listing(&leaves, path)
}

/// The names below a folder, one a line, a slash behind those that are folders.
fn listing(leaves: &[(String, String)], folder: &str) -> Option<String> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut names: Vec<String> = Vec::new();
    for (leaf, _) in leaves {
        let Some(rest) = leaf.strip_prefix(&prefix) else { continue };
        let name = rest.split_once('/').map_or_else(|| rest.to_owned(), |(first, _)| format!("{first}/"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join("\n"))
}

/// Every path with its text.
fn leaves(instance: &Instance, volumes: &[&Volume]) -> Vec<(String, String)> {
    let zone = &instance.zone;
    let region = zone.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let image = instance.image_id.as_deref().unwrap_or(NO_IMAGE);
    let mut found = vec![
        ("dynamic/instance-identity/document".to_owned(), document(instance, region, image)),
        ("meta-data/ami-id".to_owned(), image.to_owned()),
        ("meta-data/ami-launch-index".to_owned(), instance.launch_index.to_string()),
    ];
    let mut add = |path: &str, text: &str| found.push((format!("meta-data/{path}"), text.to_owned()));
    add("block-device-mapping/ami", ROOT_DEVICE);
    for (number, device) in (1..).zip(mapped(instance, volumes)) {
        add(&format!("block-device-mapping/ebs{number}"), device);
    }
    add("block-device-mapping/root", ROOT_DEVICE);
    add("instance-action", "none");
    add("instance-id", &instance.id);
    add("instance-life-cycle", "on-demand");
    add("instance-type", &instance.instance_type);
    add("placement/availability-zone", zone);
    add("placement/availability-zone-id", &zone_id(zone));
    add("placement/region", region);
    add("reservation-id", &instance.reservation_id);
    add("services/domain", "amazonaws.com");
    add("services/partition", "aws");
    found.into_iter().map(|(path, text)| (format!("latest/{path}"), text)).collect()
}

/// The device names of the volumes that were there when the instance started: what is
/// attached later is not shown ("Instance metadata categories", `block-device-mapping`;
/// aws-ebs-csi-driver `docs/faq.md` on `--reserved-volume-attachments`).
fn mapped<'a>(instance: &Instance, volumes: &[&'a Volume]) -> Vec<&'a str> {
    let attachments = volumes.iter().filter_map(|volume| volume.attachment.as_ref());
    attachments.filter(|attachment| attachment.attached <= instance.launched).map(|attachment| attachment.device.as_str()).collect()
}

fn document(instance: &Instance, region: &str, image: &str) -> String {
    let architecture = InstanceType::find(&instance.instance_type).map_or("x86_64", InstanceType::architecture);
    let document = json!({
        "accountId": ACCOUNT_ID,
        "architecture": architecture,
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": image,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "kernelId": null,
        "pendingTime": time(instance.launched),
        "privateIp": "127.0.0.1",
        "ramdiskId": null,
        "region": region,
        "version": "2017-09-30",
    });
    format!("{document:#}")
}
