//! The bodies of the fuzz targets on stable: each seed of their corpus, mutated.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message as _;
use treesync::hostile;
use treesync::model::{Batch, ManifestPart, Structural, proto};
use treesync::wire::Message;

use crate::scripted::{at, batch, file, path, put};

/// Mutations of each target: seconds in all, unoptimised.
const CASES: u32 = 4_000;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 5] = [
    ("frames", hostile::frames),
    ("batch", hostile::batch),
    ("manifest", hostile::manifest),
    ("intent", hostile::intent),
    ("events", hostile::events),
];

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// A change of some bytes: overwritten, cut out, doubled, or cut off.
#[derive(Clone, Debug)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Double(prop::sample::Index, usize),
    CutOff(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        2 => (index(), 1..40_usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        2 => (index(), 1..40_usize).prop_map(|(at, length)| Mutation::Double(at, length)),
        1 => index().prop_map(Mutation::CutOff),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let end = |at: usize, length: usize, bytes: &[u8]| (at + length).min(bytes.len());
    match mutation {
        Mutation::Set(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Mutation::Remove(at, length) => {
            let at = at.index(bytes.len());
            bytes.drain(at..end(at, *length, bytes));
        }
        Mutation::Double(at, length) => {
            let at = at.index(bytes.len());
            let part = bytes[at..end(at, *length, bytes)].to_vec();
            bytes.splice(at..at, part);
        }
        Mutation::CutOff(at) => bytes.truncate(at.index(bytes.len())),
    }
}

#[test]
fn no_bytes_make_a_parser_panic_or_change_what_it_accepted() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has a corpus");
        for seed in &seeds {
            target(seed);
        }
        let cases = (prop::sample::select(seeds), prop::collection::vec(mutation(), 1..6));
        let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let run = runner.run(&cases, |(mut bytes, mutations)| {
            for mutation in &mutations {
                mutate(&mut bytes, mutation);
            }
            target(&bytes);
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
}

/// A batch with each kind of change.
fn rich_batch() -> Batch {
    let mut batch = batch(4, vec![put("a", treesync::model::Kind::Directory), put("a/file", file(b"bytes")), put("z", file(b""))]);
    batch.structure = vec![
        Structural::Remove { generation: 5, path: path("gone") },
        Structural::RenameDirectory { generation: 5, from: path("old/place"), to: path("new") },
    ];
    batch.puts[1].inline = Some(bytes::Bytes::from_static(b"bytes"));
    batch.puts[2].held_at = Some(path("elsewhere"));
    batch
}

/// What is in the file of an intent, behind its header.
fn intent() -> Vec<u8> {
    use proto::operation::Act;
    let name = || bytes::Bytes::from_static(b"a/b");
    let entry = rich_batch().puts[1].entry.clone();
    let acts = [
        Act::Trash(proto::Trash { path: name() }),
        Act::Move(proto::Move { from: name(), to: name() }),
        Act::Publish(proto::Publish { number: 3, path: name() }),
        Act::Set(proto::Set { path: name(), entry: Some((&entry).into()) }),
        Act::Times(proto::Times { path: name(), mtime_s: -1, mtime_ns: 999_999_999 }),
    ];
    let operations = acts.map(|act| proto::Operation { inode: 12, born_s: 5, born_ns: 6, act: Some(act) });
    let position = Some((&at(9)).into());
    proto::Intent { position, structure: 9, is_repair: true, operations: operations.into() }.encode_to_vec()
}

/// Two events as the kernel writes them (linux/fanotify.h): a name that was made, and a directory that was renamed.
fn events() -> Vec<u8> {
    let record = |kind: u8, name: &[u8]| {
        let handle = [8_u32.to_ne_bytes().as_slice(), &1_i32.to_ne_bytes(), &42_u64.to_ne_bytes()].concat();
        let mut body = [&[0; 8][..], &handle, name, &[0]].concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u16::try_from(body.len() + 4).expect("short");
        [&[kind, 0][..], &length.to_ne_bytes(), &body].concat()
    };
    let event = |mask: u64, records: &[u8]| {
        let length = u32::try_from(24 + records.len()).expect("short");
        let header =
            [&length.to_ne_bytes()[..], &[3, 0], &24_u16.to_ne_bytes(), &mask.to_ne_bytes(), &(-1_i32).to_ne_bytes(), &7_i32.to_ne_bytes()];
        [&header.concat(), records].concat()
    };
    let (created, renamed_directory) = (0x100, 0x1000_0000 | 0x4000_0000);
    [event(created, &record(2, b"name")), event(renamed_directory, &[record(10, b"old"), record(12, b"new")].concat())].concat()
}

/// The corpus is made by `TREESYNC_WRITE_CORPUS=1 cargo test -p treesync --test it corpus`; the program must still take it.
#[test]
fn the_corpus_holds_what_the_program_itself_says() {
    let delimited = |message: &Message| {
        let frames = (0..).zip(message.to_frames()).map(|(sequence, frame)| proto::Frame { sequence, ..frame });
        frames.flat_map(|frame| frame.encode_length_delimited_to_vec()).collect::<Vec<u8>>()
    };
    let part = ManifestPart { position: at(9), is_last_part: true, puts: rich_batch().puts };
    let part = ManifestPart {
        puts: part.puts.into_iter().map(|put| treesync::model::Put { inline: None, held_at: None, ..put }).collect(),
        ..part
    };
    let own = [
        ("frames", delimited(&Message::Batch(rich_batch()))),
        ("batch", proto::Batch::from(&rich_batch()).encode_to_vec()),
        ("manifest", proto::ManifestPart::from(&part).encode_to_vec()),
        ("intent", intent()),
        ("events", events()),
    ];
    for (name, bytes) in own {
        let file = corpus(name).join("seed-own");
        if std::env::var_os("TREESYNC_WRITE_CORPUS").is_some() {
            std::fs::create_dir_all(corpus(name)).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{name}");
    }
}
