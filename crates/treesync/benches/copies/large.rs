//! One large file, of which a little changes, on copies that can share blocks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::process::Running;
use super::{row, shell};

const COPIES: usize = 4;
const MIB: usize = 1024 * 1024;
const FILE_MIB: usize = 512;

pub(crate) fn measure() {
    eprintln!("{FILE_MIB} MiB, of which one changes");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let at = folder.path().display();
    let names = format!("source $(seq -f copy-%g 0 {})", COPIES - 1);
    shell(&format!(
        "cd {at}; for n in {names}; do truncate -s 2G $n.img; mkfs.xfs -q $n.img; mkdir $n; mount -o loop,noatime $n.img $n; done"
    ));
    let path = folder.path().join("source/large");
    let file = File::create(&path).expect("created");
    for mib in 0..FILE_MIB {
        file.write_all_at(&block(mib), (mib * MIB) as u64).expect("written");
    }
    let address = format!("unix:{at}/socket");
    let own = |arguments: &[&str]| arguments.iter().map(ToString::to_string).collect::<Vec<_>>();
    let publisher = Running::start(&own(&["--json", "publish", &format!("{at}/source"), "--listen", &address]));
    publisher.wait_for(|event| event["event"] == "in_sync");
    let mut arguments = own(&["--json", "subscribe", "--from", &address]);
    arguments.extend((0..COPIES).map(|copy| format!("{at}/copy-{copy}")));
    let subscriber = Running::start(&arguments);
    subscriber.wait_for(|event| event["event"] == "in_sync");
    let time = |path: std::path::PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    drop(file);
    let edit = |mib: usize| {
        let file = File::options().write(true).open(&path).expect("opened");
        file.write_all_at(&block(mib + FILE_MIB), (mib * MIB) as u64).expect("written");
    };
    edit(100);
    let begun = Instant::now();
    let is_there = || (0..COPIES).all(|copy| time(folder.path().join(format!("copy-{copy}/large"))) == time(path.clone()));
    subscriber.wait_for(|event| event["event"] == "in_sync" && is_there());
    let ours = begun.elapsed().as_secs_f64();
    drop((publisher, subscriber));
    edit(200);
    let begun = Instant::now();
    let one = "(rsync -aHAX --modify-window=-1 --inplace --no-whole-file source/large copy-$n/; sync -f copy-$n) &";
    shell(&format!("cd {at}; for n in $(seq 0 {}); do {one} done; wait", COPIES - 1));
    row(
        "edit_in_512_mib",
        ours,
        "s",
        "rsync --inplace --no-whole-file, 4 in parallel, and sync -f",
        begun.elapsed().as_secs_f64(),
        1.0 / 2.5,
    );
    shell(&format!("cd {at}; for n in {names}; do umount -l $n; done"));
}

/// Bytes that do not repeat.
fn block(seed: usize) -> Vec<u8> {
    let mut bytes = vec![0; MIB];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
