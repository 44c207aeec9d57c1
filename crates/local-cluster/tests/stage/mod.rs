//! What the tests of real clusters share.

use local_cluster::Cluster;

/// Whether a test can run; says why not, and fails in continuous integration.
pub(crate) fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "continuous integration must run this test as root");
    // Written past the capture of the test runner, which hides what a passing test prints.
    std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: a local cluster needs root\n").unwrap();
    false
}

/// What a script prints that the shell of the first node runs.
pub(crate) async fn in_node(cluster: &Cluster, script: &str) -> String {
    let mut command = cluster.node_command("node1", "sh").unwrap();
    let output = command.args(["-ec", script]).output().await.unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
