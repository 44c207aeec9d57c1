//! The journal beside the state file: what each call has changed since that file was written.
//!
//! A state of 10,000 volumes takes a second to write and a call changes a few rows of it, so
//! that a call is made durable by one line here. The first line names the state file that the
//! journal continues, by its digest; a journal of another one is left over from before it was
//! written, and says nothing. Every line begins with the BLAKE3 digest of the rest of it.
//!
//! A last line without its end is one whose call was never answered: it is dropped, and
//! that is said. Any other line that its digest does not vouch for makes the journal damaged.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, io};
use crate::world::{Changes, World};

/// Bytes. A journal that has grown beyond this is folded into the state file.
const LARGEST: u64 = 32 << 20;

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Entry {
    /// The state file that the journal continues.
    Continues {
        /// BLAKE3 of the account in it, in hexadecimal.
        blake3: String,
    },
    /// What changed.
    Changes {
        /// How far the clock of the account was ahead of the machine's, in milliseconds.
        ahead_ms: i64,
        changes: Box<Changes>,
    },
}

/// A journal that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes that are whole and on disk.
    length: u64,
}

impl Journal {
    /// Begins the journal of a state file with this digest, in place of the one there was.
    pub(super) fn begin(folder: &Path, state: &str) -> Result<Self, Error> {
        let path = path(folder);
        let file = File::create(&path).map_err(io("create", &path))?;
        let mut journal = Self { path, file, length: 0 };
        journal.write(&Entry::Continues { blake3: state.to_owned() })?;
        let folder_file = File::open(folder).map_err(io("open", folder))?;
        folder_file.sync_all().map_err(io("sync", folder))?;
        Ok(journal)
    }

    /// Goes on with a journal of which so many bytes are whole.
    pub(super) fn go_on(folder: &Path, length: u64) -> Result<Self, Error> {
        let path = path(folder);
        let file = OpenOptions::new().append(true).open(&path).map_err(io("open", &path))?;
        file.set_len(length).map_err(io("cut", &path))?;
        Ok(Self { path, file, length })
    }

    /// Writes down what changed; on return the disk holds it. After an error the journal is as it was.
    pub(super) fn append(&mut self, changes: Changes, ahead_ms: i64) -> Result<(), Error> {
        self.write(&Entry::Changes { ahead_ms, changes: Box::new(changes) })
    }

    /// Whether it is time to write a new state file instead.
    pub(super) fn is_long(&self) -> bool {
        self.length > LARGEST
    }

    fn write(&mut self, entry: &Entry) -> Result<(), Error> {
        let text = serde_json::to_string(entry).map_err(Error::Unwritable)?;
        let line = format!("{} {text}\n", blake3::hash(text.as_bytes()).to_hex());
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // What got through of the line must not come before the next one.
            let cut = self.file.set_len(self.length);
            if let Err(error) = cut {
                tracing::error!(%error, "the journal cannot be cut back after a failed write");
            }
            return Err(io("write", &self.path)(source));
        }
        self.length += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// What a journal adds to a state.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// How far the clock was ahead at the last change, if there was one.
    pub(super) ahead_ms: Option<i64>,
    /// How many bytes are whole; none when the journal does not continue the state.
    pub(super) length: Option<u64>,
}

/// Puts into effect what the journal of the folder adds to a state file with this digest.
pub(super) fn replay(folder: &Path, state: &str, world: &mut World) -> Result<Replayed, Error> {
    let path = path(folder);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Replayed::default()),
        Err(e) => return Err(io("read", &path)(e)),
    };
    apply(&bytes, state, world).map_err(|what| Error::State { path, what })
}

fn apply(bytes: &[u8], state: &str, world: &mut World) -> Result<Replayed, String> {
    let mut replayed = Replayed::default();
    let mut length = 0;
    for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let Some(line_text) = line.strip_suffix(b"\n") else {
            tracing::warn!(
                bytes = line.len(),
                "the last line of the journal was never finished, and its call never answered: it is dropped"
            );
            break;
        };
        let entry = read(line_text).ok_or_else(|| format!("line {number} of the journal is not the one that was written"))?;
        match entry {
            Entry::Continues { blake3 } if number == 1 && blake3 == state => {}
            // Of an older state file, which the present one has taken in.
            Entry::Continues { .. } if number == 1 => return Ok(Replayed::default()),
            Entry::Changes { ahead_ms, changes } if number > 1 => {
                world.patch(*changes);
                replayed.ahead_ms = Some(ahead_ms);
            }
            _ => return Err(format!("line {number} of the journal is out of place")),
        }
        length += u64::try_from(line.len()).unwrap_or(u64::MAX);
    }
    replayed.length = (length > 0).then_some(length);
    Ok(replayed)
}

fn read(line: &[u8]) -> Option<Entry> {
    let line = std::str::from_utf8(line).ok()?;
    let (digest, text) = line.split_once(' ')?;
    (blake3::hash(text.as_bytes()).to_hex().as_str() == digest).then(|| serde_json::from_str(text).ok())?
}

fn path(folder: &Path) -> PathBuf {
    folder.join("journal.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Action, Call, CreateVolume, Profile, Settings};
    use jiff::Timestamp;

    const STATE: &str = "digest-of-the-state";

    fn empty() -> World {
        World::new(Settings { region: "us-east-1".to_owned(), profile: Profile::Instant, seed: 1 })
    }

    fn create(world: &mut World) {
        let request = CreateVolume { size_gib: Some(1), zone: Some("us-east-1a".to_owned()), ..CreateVolume::default() };
        world.apply(Timestamp::UNIX_EPOCH, &Call::from(Action::CreateVolume(request))).unwrap();
    }

    /// A journal of three calls, and the worlds after each.
    fn journal(folder: &Path) -> (Vec<u8>, Vec<World>) {
        let mut world = empty();
        world.track_changes();
        let mut journal = Journal::begin(folder, STATE).unwrap();
        let mut worlds = vec![world.clone()];
        for ahead_ms in 1..=3 {
            create(&mut world);
            journal.append(world.take_changes(), ahead_ms).unwrap();
            worlds.push(world.clone());
        }
        (fs::read(path(folder)).unwrap(), worlds)
    }

    #[test]
    fn a_journal_makes_an_old_state_the_present_one() {
        let folder = tempfile::tempdir().unwrap();
        let (_, worlds) = journal(folder.path());
        let mut world = empty();
        let replayed = replay(folder.path(), STATE, &mut world).unwrap();
        assert_eq!((&world, replayed.ahead_ms), (&worlds[3], Some(3)));
    }

    #[test]
    fn a_journal_of_another_state_file_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        journal(folder.path());
        let mut world = empty();
        assert_eq!(replay(folder.path(), "another", &mut world).unwrap().length, None);
        assert_eq!(world, empty());
    }

    #[test]
    fn a_journal_cut_anywhere_holds_the_calls_before_the_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, worlds) = journal(folder.path());
        for length in 0..=whole.len() {
            let mut world = empty();
            apply(&whole[..length], STATE, &mut world).unwrap();
            let lines = whole[..length].split(|byte| *byte == b'\n').count() - 1;
            assert_eq!(world, worlds[lines.saturating_sub(1)], "cut to {length} bytes");
        }
    }

    #[test]
    fn a_journal_with_any_byte_changed_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, _) = journal(folder.path());
        // All but the end of the last line, which would make it an unfinished one.
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(apply(&changed, STATE, &mut empty()).is_err(), "byte {at} changed");
        }
    }

    #[test]
    fn a_journal_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, worlds) = journal(folder.path());
        fs::write(path(folder.path()), &whole[..whole.len() - 5]).unwrap();
        let mut world = empty();
        let length = replay(folder.path(), STATE, &mut world).unwrap().length.unwrap();
        assert_eq!(world, worlds[2]);
        world.track_changes();
        create(&mut world);
        Journal::go_on(folder.path(), length).unwrap().append(world.take_changes(), 0).unwrap();
        let mut again = empty();
        replay(folder.path(), STATE, &mut again).unwrap();
        assert_eq!(again, world);
    }
}
