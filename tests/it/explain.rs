//! `volume-dispatcher explain` without a cluster, as a review in CI runs it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const POOL: &str = "apiVersion: volumedispatcher.io/v1alpha1
kind: VolumePool
metadata: {name: web, namespace: shop}
spec:
  replicas: 4
  source: {volumeID: vol-0123456789abcdef0}
  zones: [us-east-1a, us-east-1b]
";

/// Runs `explain --from -` with a manifest on standard input, and nothing that could lead to a cluster or to AWS.
fn explain(manifest: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volume-dispatcher"));
    command.args(["explain", "--from", "-"]).args(arguments).env_clear();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn explained(manifest: &str, arguments: &[&str]) -> String {
    let output = explain(manifest, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refusal(manifest: &str) -> String {
    let output = explain(manifest, &[]);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_manifest_is_explained_with_order_calls_and_cost() {
    let text = explained(POOL, &["--source-size", "20Gi"]);
    assert!(
        text.starts_with("shop/web: would take a snapshot of vol-0123456789abcdef0, generation 1, then make 2 volumes of 20Gi"),
        "{text}"
    );
    let order =
        ["guard the pool", "take a snapshot", "make the objects of 2 volumes in us-east-1a", "make 2 volumes of 20Gi in us-east-1a"];
    let places: Vec<usize> =
        order.iter().map(|words| text.rfind(&format!(" {words}")).unwrap_or_else(|| panic!("{words}: {text}"))).collect();
    assert!(places.is_sorted(), "{text}");
    assert!(text.contains("5 that change something") && text.contains("+7.40"), "four volumes of 1.60 and a snapshot of 1.00: {text}");
    assert!(text.contains("assumed") && text.contains("--source-size"), "{text}");
}

#[test]
fn the_same_is_given_as_json_and_as_yaml() {
    let json: serde_json::Value = serde_json::from_str(&explained(POOL, &["--output", "json"])).unwrap();
    assert_eq!(json[0]["pool"], "shop/web");
    assert_eq!(json[0]["calls"]["byAction"], serde_json::json!({"CreateSnapshot": 1, "CreateVolume": 4}));
    assert_eq!(json[0]["monthlyCost"]["currency"], "USD");
    assert_eq!(json[0]["steps"][0]["number"], 1);
    let yaml = volume_dispatcher::yaml::documents(&explained(POOL, &["-o", "yaml"])).unwrap();
    assert_eq!(yaml, [json]);
}

#[test]
fn only_the_pool_that_is_named_is_explained() {
    let two = format!("{POOL}---\n{}", POOL.replace("name: web", "name: api"));
    assert!(explained(&two, &["api"]).starts_with("shop/api:"));
    assert_eq!(explained(&two, &[]).matches("EC2 calls ").count(), 2);
}

#[test]
fn a_large_pool_says_how_long_the_rates_of_the_account_make_it() {
    let large = POOL.replace("replicas: 4", "replicas: 1000");
    let seconds = |arguments: &[&str]| {
        let json: serde_json::Value = serde_json::from_str(&explained(&large, arguments)).unwrap();
        json[0]["calls"]["atLeastSeconds"].as_u64().unwrap()
    };
    assert!((180..190).contains(&seconds(&["-o", "json"])));
    assert!((38..45).contains(&seconds(&["-o", "json", "--ec2-rate", "CreateVolume=200/20"])));
}

#[test]
fn a_bad_manifest_is_refused_with_the_field_and_the_fix() {
    let cases = [
        (POOL.replace("replicas: 4", "replicas: four"), "spec.replicas must be of type integer"),
        (POOL.replace("replicas: 4", "replicas: 4000"), "spec.replicas must be from 0 to 1000"),
        (POOL.replace("replicas: 4", "replica: 4"), "spec.replica does not exist; there are: claims"),
        (POOL.replace("{volumeID: vol-0123456789abcdef0}", "{}"), "spec.source needs exactly one kind of source"),
        (POOL.replace("zones: [us-east-1a, us-east-1b]", "deletionPolicy: Keep"), "spec.deletionPolicy must be one of"),
        (POOL.replace("VolumePool", "Deployment"), "there is no VolumePool in it"),
        (POOL.replace("spec:", "spec"), "line"),
        (String::new(), "there is no VolumePool in it"),
    ];
    for (manifest, words) in cases {
        let error = refusal(&manifest);
        assert!(error.contains(words), "{error}\nwas expected to say {words:?} of\n{manifest}");
    }
}
