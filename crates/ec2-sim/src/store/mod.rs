//! The state file: the account, kept across restarts, and the lock of its folder.
//!
//! The first line is a header in JSON with the version of the format, and length and
//! digest of what follows; the account follows as JSON. A file that its header does
//! not vouch for is refused and left as it is: half an account is worse than none.
//!
//! What has changed since is in the journal beside it; the file is written anew when
//! the simulator stops, and when the journal has grown long.

mod journal;

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, io};
use crate::world::{Changes, World};
use journal::Journal;

/// The version of the format that is written. Version 1 was the account alone, without a
/// header; it is still read.
const VERSION: u32 = 2;

/// The state file of a data folder, held exclusively.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    held: Mutex<Held>,
}

/// What is open in the folder.
#[derive(Debug, Default)]
struct Held {
    /// The lock of the folder; closing the file releases it.
    lock: Option<File>,
    /// None until there is a state file that a journal can continue.
    journal: Option<Journal>,
}

/// What the first line says about the rest.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Header {
    /// The version of the format.
    ec2_sim_state: u32,
    /// Bytes behind the header's line.
    length: usize,
    /// BLAKE3 of these bytes, in hexadecimal.
    blake3: String,
    /// How far the clock of the account was ahead of the machine's, in milliseconds.
    #[serde(default)]
    ahead_ms: i64,
}

/// What a state file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The account.
    pub(crate) world: World,
    /// How far its clock was ahead of the machine's, in milliseconds.
    pub(crate) ahead_ms: i64,
}

impl Store {
    /// Takes the folder, which is made when missing.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(io("create", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse(folder.to_owned()))?;
        Ok(Self { folder: folder.to_owned(), held: Mutex::new(Held { lock: Some(lock), journal: None }) })
    }

    /// Gives the folder back. Nothing can be stored after that.
    pub(crate) fn release(&self) {
        *self.held() = Held::default();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stored account; none in a new folder.
    pub(crate) fn load(&self) -> Result<Option<Stored>, Error> {
        let Some((stored, length)) = load(&self.folder)? else { return Ok(None) };
        if let Some(length) = length {
            self.held().journal = Some(Journal::go_on(&self.folder, length)?);
        }
        Ok(Some(stored))
    }

    /// Whether the next thing to be stored must be the whole account.
    pub(crate) fn wants_all(&self) -> bool {
        self.held().journal.as_ref().is_none_or(Journal::is_long)
    }

    /// Adds what has changed to the stored account; on return the disk holds it. After an
    /// error the whole account is wanted next.
    pub(crate) fn append(&self, changes: Changes, ahead_ms: i64) -> Result<(), Error> {
        let mut held = self.held();
        // Both go together when the folder is given back.
        let Some(journal) = &mut held.journal else {
            return Err(Error::Stopped);
        };
        let appended = journal.append(changes, ahead_ms);
        if appended.is_err() {
            held.journal = None;
        }
        appended
    }

    /// Replaces the stored account by this one, given as JSON; on return the disk holds it.
    pub(crate) fn save(&self, state: &[u8], ahead_ms: i64) -> Result<(), Error> {
        let mut held = self.held();
        if held.lock.is_none() {
            return Err(Error::Stopped);
        }
        let file = state_file(&self.folder);
        let partial = file.with_extension("json.partial");
        let mut open = File::create(&partial).map_err(io("create", &partial))?;
        open.write_all(header(state, ahead_ms).as_bytes()).map_err(io("write", &partial))?;
        open.write_all(state).map_err(io("write", &partial))?;
        open.sync_data().map_err(io("sync", &partial))?;
        fs::rename(&partial, &file).map_err(io("replace", &file))?;
        let folder = File::open(&self.folder).map_err(io("open", &self.folder))?;
        folder.sync_all().map_err(io("sync", &self.folder))?;
        // The old journal says nothing from now on, since it continues another file.
        held.journal = Some(Journal::begin(&self.folder, &digest(state))?);
        Ok(())
    }
}

/// The account stored in a data folder, without taking the folder.
pub(crate) fn peek(folder: &Path) -> Result<Option<Stored>, Error> {
    Ok(load(folder)?.map(|(stored, _)| stored))
}

fn state_file(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

/// The account, and the length of the journal that continues its file, if there is one.
fn load(folder: &Path) -> Result<Option<(Stored, Option<u64>)>, Error> {
    let file = state_file(folder);
    let stored = match fs::read(&file) {
        Ok(stored) => stored,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io("read", &file)(e)),
    };
    let mut found = read(&stored).map_err(|problem| match problem {
        Problem::Damaged(what) => Error::State { path: file, what },
        Problem::Newer(version) => Error::StateVersion { path: file, version, newest: VERSION },
    })?;
    let replayed = journal::replay(folder, &digest(body(&stored)), &mut found.world)?;
    found.ahead_ms = replayed.ahead_ms.unwrap_or(found.ahead_ms);
    Ok(Some((found, replayed.length)))
}

fn digest(state: &[u8]) -> String {
    blake3::hash(state).to_hex().to_string()
}

/// The account in a state file, behind its header if it has one.
fn body(stored: &[u8]) -> &[u8] {
    let end = stored.iter().position(|byte| *byte == b'\n').unwrap_or(stored.len());
    match serde_json::from_slice::<Header>(&stored[..end]) {
        Ok(_) => stored.get(end + 1..).unwrap_or_default(),
        Err(_) => stored,
    }
}

/// Why stored bytes are not an account.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Damaged(String),
    Newer(u32),
}

fn header(state: &[u8], ahead_ms: i64) -> String {
    let header = Header { ec2_sim_state: VERSION, length: state.len(), blake3: digest(state), ahead_ms };
    let line = serde_json::to_string(&header).expect("numbers and text are JSON");
    format!("{line}\n")
}

fn read(stored: &[u8]) -> Result<Stored, Problem> {
    if stored.is_empty() {
        return Err(Problem::Damaged("it is empty".to_owned()));
    }
    let end = stored.iter().position(|byte| *byte == b'\n').unwrap_or(stored.len());
    let (first, rest) = stored.split_at(end);
    // A file of version 1 has no header.
    let Ok(header) = serde_json::from_slice::<Header>(first) else {
        return Ok(Stored { world: account(stored)?, ahead_ms: 0 });
    };
    let world = account(vouched(&header, rest.get(1..).unwrap_or_default())?)?;
    Ok(Stored { world, ahead_ms: header.ahead_ms })
}

/// The account, when it is the one that the header was written for.
fn vouched<'a>(header: &Header, state: &'a [u8]) -> Result<&'a [u8], Problem> {
    if header.ec2_sim_state > VERSION {
        return Err(Problem::Newer(header.ec2_sim_state));
    }
    if state.len() != header.length {
        return Err(Problem::Damaged(format!("it should hold {} bytes behind its first line and holds {}", header.length, state.len())));
    }
    if digest(state) != header.blake3 {
        return Err(Problem::Damaged("its content is not the one that its first line was written for".to_owned()));
    }
    Ok(state)
}

fn account(state: &[u8]) -> Result<World, Problem> {
    serde_json::from_slice(state).map_err(|error| Problem::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Profile, Settings};

    fn world() -> World {
        World::new(Settings { region: "eu-west-1".to_owned(), profile: Profile::Instant, seed: 7 })
    }

    fn stored() -> Vec<u8> {
        let state = serde_json::to_vec_pretty(&world()).unwrap();
        [header(&state, 60_000).into_bytes(), state].concat()
    }

    #[test]
    fn an_account_is_read_as_it_was_written() {
        assert_eq!(read(&stored()), Ok(Stored { world: world(), ahead_ms: 60_000 }));
    }

    #[test]
    fn a_file_without_a_header_is_of_version_one() {
        assert_eq!(read(&serde_json::to_vec(&world()).unwrap()).unwrap().world, world());
        assert_eq!(read(&serde_json::to_vec_pretty(&world()).unwrap()).unwrap().world, world());
    }

    #[test]
    fn a_file_cut_anywhere_is_damaged() {
        let whole = stored();
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(Problem::Damaged(_))), "cut to {length} bytes of {}", whole.len());
        }
    }

    #[test]
    fn a_file_with_any_byte_changed_is_damaged() {
        let whole = stored();
        let body = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in body..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(matches!(read(&changed), Err(Problem::Damaged(_))), "byte {at} changed");
        }
    }

    #[test]
    fn a_file_of_a_newer_version_is_not_guessed_at() {
        let newer = String::from_utf8(stored()).unwrap().replacen("\"ec2-sim-state\":2", "\"ec2-sim-state\":3", 1);
        assert_eq!(read(newer.as_bytes()), Err(Problem::Newer(3)));
    }
}
