//! The state file of a data folder: what a simulator does with one that is damaged.

use std::fs;

use ec2_sim::{Error, Options, Server};

use crate::http::call;

#[tokio::test]
async fn a_torn_state_file_is_named_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Options::for_tests(folder.path())).await.unwrap();
    let address = server.addr();
    tokio::task::spawn_blocking(move || call(address, "CreateVolume", "Size=1&AvailabilityZone=us-east-1a")).await.unwrap();
    server.shutdown().await.unwrap();
    let file = folder.path().join("state.json");
    let whole = fs::read(&file).unwrap();
    for torn in [&whole[..whole.len() / 2], &whole[..10], &[]] {
        fs::write(&file, torn).unwrap();
        let error = Server::start(Options::for_tests(folder.path())).await.unwrap_err();
        assert!(matches!(error, Error::State { .. }), "{error}");
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&file).unwrap(), torn, "it is left as it was");
        assert!(matches!(ec2_sim::audit_folder(folder.path()), Err(Error::State { .. })));
    }
    fs::write(&file, &whole).unwrap();
    Server::start(Options::for_tests(folder.path())).await.unwrap().shutdown().await.unwrap();
}
