//! Reads what the kernel writes into the buffer of a fanotify group. Pure; whatever the bytes are, it does not panic.

use super::identity::identity_of_handle;
use crate::index::Identity;

/// One event. What it names is checked later: events are hints.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Event {
    /// `FAN_*` bits of what happened.
    pub mask: u64,
    /// Of the process that did it; 0 for one that we cannot see.
    pub process: i32,
    /// Names with their directories: one, or the old and the new one of a rename. `.` is the directory itself.
    pub names: Vec<(Identity, Vec<u8>)>,
    /// What it happened to, where the kernel says so.
    pub target: Option<Identity>,
}

/// Why a buffer makes no sense. Nothing after that point was understood, so events were lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// A length leads outside of what holds it.
    #[error("an event of fanotify is cut off")]
    CutOff,
    /// `FANOTIFY_METADATA_VERSION` is another.
    #[error("the kernel speaks version {0} of fanotify, we know 3")]
    Version(u8),
}

/// `struct fanotify_event_metadata` (linux/fanotify.h): length, version, reserved, length of itself, mask, descriptor, pid.
const METADATA_BYTES: usize = 24;
/// `struct fanotify_event_info_header`: type, padding, length.
const HEADER_BYTES: usize = 4;
/// `fsid` of `struct fanotify_event_info_fid`.
const FSID_BYTES: usize = 8;

const INFO_FID: u8 = 1;
const INFO_DFID_NAME: u8 = 2;
const INFO_DFID: u8 = 3;
const INFO_OLD_DFID_NAME: u8 = 10;
const INFO_NEW_DFID_NAME: u8 = 12;

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ParseError> {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    part.copied().ok_or(ParseError::CutOff)
}

/// All events of a buffer that `read(2)` filled.
///
/// # Errors
/// The buffer is not what the kernel writes; events before that point are lost as well.
pub fn parse(buffer: &[u8]) -> Result<Vec<Event>, ParseError> {
    let mut events = Vec::new();
    let mut rest = buffer;
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(number(rest, 0)?) as usize;
        let [version] = number(rest, 4)?;
        if version != libc::FANOTIFY_METADATA_VERSION {
            return Err(ParseError::Version(version));
        }
        let metadata = usize::from(u16::from_ne_bytes(number(rest, 6)?));
        if length < METADATA_BYTES || metadata < METADATA_BYTES || metadata > length {
            return Err(ParseError::CutOff);
        }
        let (event, next) = rest.split_at_checked(length).ok_or(ParseError::CutOff)?;
        let (mask, process) = (u64::from_ne_bytes(number(event, 8)?), i32::from_ne_bytes(number(event, 20)?));
        let mut parsed = Event { mask, process, ..Event::default() };
        parse_records(&event[metadata..], &mut parsed)?;
        events.push(parsed);
        rest = next;
    }
    Ok(events)
}

fn parse_records(mut records: &[u8], event: &mut Event) -> Result<(), ParseError> {
    while !records.is_empty() {
        let [kind] = number(records, 0)?;
        let length = usize::from(u16::from_ne_bytes(number(records, 2)?));
        if length < HEADER_BYTES {
            return Err(ParseError::CutOff);
        }
        let (record, next) = records.split_at_checked(length).ok_or(ParseError::CutOff)?;
        match kind {
            INFO_FID => event.target = Some(parse_handle(record)?.0),
            INFO_DFID_NAME | INFO_DFID | INFO_OLD_DFID_NAME | INFO_NEW_DFID_NAME => {
                let (directory, rest) = parse_handle(record)?;
                let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
                let name = if name.is_empty() { b"." } else { name };
                event.names.push((directory, name.to_vec()));
            }
            // Later kernels may say more.
            _ => {}
        }
        records = next;
    }
    Ok(())
}

/// The handle in a record, and what follows it.
fn parse_handle(record: &[u8]) -> Result<(Identity, &[u8]), ParseError> {
    let at = HEADER_BYTES + FSID_BYTES;
    let length = u32::from_ne_bytes(number(record, at)?) as usize;
    let kind = i32::from_ne_bytes(number(record, at + 4)?);
    let rest = record.get(at + 8..).ok_or(ParseError::CutOff)?;
    let (handle, rest) = rest.split_at_checked(length).ok_or(ParseError::CutOff)?;
    Ok((identity_of_handle(kind, handle), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
        let mut body = vec![0; FSID_BYTES];
        body.extend_from_slice(&u32::try_from(handle.len()).expect("short").to_ne_bytes());
        body.extend_from_slice(&1_i32.to_ne_bytes());
        body.extend_from_slice(handle);
        body.extend_from_slice(name);
        // The kernel pads records to four bytes.
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u16::try_from(body.len() + HEADER_BYTES).expect("short");
        [&[kind, 0], length.to_ne_bytes().as_slice(), &body].concat()
    }

    fn event(mask: u64, records: &[Vec<u8>]) -> Vec<u8> {
        let records = records.concat();
        let length = u32::try_from(METADATA_BYTES + records.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[libc::FANOTIFY_METADATA_VERSION, 0]);
        bytes.extend_from_slice(&24_u16.to_ne_bytes());
        bytes.extend_from_slice(&mask.to_ne_bytes());
        bytes.extend_from_slice(&[0xff; 4]);
        bytes.extend_from_slice(&77_i32.to_ne_bytes());
        bytes.extend_from_slice(&records);
        bytes
    }

    #[test]
    fn a_rename_has_both_names_and_a_directory_itself_is_a_dot() {
        let rename = event(libc::FAN_RENAME, &[record(10, b"dir1", b"old\0"), record(12, b"dir2", b"new\0"), record(1, b"file", b"")]);
        let itself = event(libc::FAN_ATTRIB, &[record(2, b"dir1", b".\0"), record(99, b"", b"later")]);
        let events = parse(&[rename, itself].concat()).expect("parses");
        let id = |handle: &[u8]| identity_of_handle(1, handle);
        assert_eq!(events[0].names, [(id(b"dir1"), b"old".to_vec()), (id(b"dir2"), b"new".to_vec())]);
        assert_eq!(events[0].target, Some(id(b"file")));
        assert_eq!(events[1].names, [(id(b"dir1"), b".".to_vec())]);
        assert_eq!((events.len(), events[1].mask), (2, libc::FAN_ATTRIB));
    }

    #[test]
    fn an_overflow_names_nothing() {
        let events = parse(&event(libc::FAN_Q_OVERFLOW, &[])).expect("parses");
        assert_eq!(events, [Event { mask: libc::FAN_Q_OVERFLOW, process: 77, ..Event::default() }]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_good_buffer_with_bad_bytes_does_not_make_it_panic(at in 0..120_usize, value in any::<u8>(), cut in 0..120_usize) {
            let mut bytes = event(libc::FAN_CREATE, &[record(2, b"12345678", b"a-name\0"), record(1, b"12345678", b"")]);
            bytes.extend(event(libc::FAN_DELETE, &[record(2, b"12345678", b"another\0")]));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = parse(&bytes);
            let _ = parse(&bytes[..cut.min(bytes.len())]);
        }
    }
}
