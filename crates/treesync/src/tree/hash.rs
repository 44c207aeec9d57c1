//! Digests of files, those of large ones on several threads.

use super::Stop;
use super::extent::{BLOCK_BYTES, DataExtents};
use crate::model::ContentHash;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// What one thread hashes at once: a power of two, so that it is a subtree of Blake3, and some milliseconds.
const PIECE_BYTES: u64 = 8 * 1024 * 1024;
/// Threads that hash one file at most. Two or three read as fast as a disk does.
const THREADS_MAX: usize = 4;

/// Digest of the first `size_bytes` of a file; holes are taken as zeros and not read. `None` when the file is shorter.
///
/// # Errors
/// Reading failed.
pub fn hash_sparse(file: &File, size_bytes: u64) -> io::Result<Option<ContentHash>> {
    hash_sparse_until(file, size_bytes, &Stop::default())
}

/// As [`hash_sparse`], until it is stopped.
///
/// # Errors
/// Reading failed, or was stopped.
pub fn hash_sparse_until(file: &File, size_bytes: u64, stop: &Stop) -> io::Result<Option<ContentHash>> {
    let pieces = size_bytes.div_ceil(PIECE_BYTES);
    if pieces < 2 {
        let hasher = hash_part(file, blake3::Hasher::new(), 0..size_bytes, stop)?;
        return Ok(hasher.map(|hasher| ContentHash(*hasher.finalize().as_bytes())));
    }
    let piece = |number: usize| {
        let start = number as u64 * PIECE_BYTES;
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(start);
        Ok(hash_part(file, hasher, start..size_bytes.min(start + PIECE_BYTES), stop)?.map(|hasher| hasher.finalize_non_root()))
    };
    let values: Option<Vec<ChainingValue>> = in_parallel(usize::try_from(pieces).unwrap_or(usize::MAX), &piece)?.into_iter().collect();
    Ok(values.map(|values| {
        let (left, right) = halves(&values, size_bytes);
        ContentHash(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
    }))
}

/// Results of so many pieces of work, in order, done on several threads, or on fewer where no more can be made.
///
/// # Errors
/// The first error in the order of the pieces; no more are begun then.
pub fn in_parallel<T: Send>(count: usize, work: &(impl Fn(usize) -> io::Result<T> + Sync)) -> io::Result<Vec<T>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(count);
    in_threads(count, work, (1..threads).map(|_| Builder::new().name("treesync-hash".to_owned())))
}

/// On this thread and others.
fn in_threads<T: Send>(
    count: usize,
    work: &(impl Fn(usize) -> io::Result<T> + Sync),
    others: impl Iterator<Item = Builder>,
) -> io::Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let one = |number| {
        let result = work(number);
        if result.is_err() {
            // All before it are begun, so the first error is among what is done.
            next.fetch_max(count, Ordering::Relaxed);
        }
        (number, result)
    };
    let take = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count));
        numbers.map(one).collect::<Vec<_>>()
    };
    let mut done = std::thread::scope(|scope| {
        // A limit of threads costs time, not the copy.
        let others: Vec<_> = others.map_while(|other| other.spawn_scoped(scope, take).ok()).collect();
        let mut done = take();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The values of the two subtrees of so many bytes, more than one piece.
fn halves(values: &[ChainingValue], size_bytes: u64) -> (ChainingValue, ChainingValue) {
    let left_bytes = left_subtree_len(size_bytes);
    let (left, right) = values.split_at(usize::try_from(left_bytes / PIECE_BYTES).unwrap_or(usize::MAX));
    (merged(left, left_bytes), merged(right, size_bytes - left_bytes))
}

fn merged(values: &[ChainingValue], size_bytes: u64) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = halves(values, size_bytes);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// Adds a part of a file; none when the file ends before.
fn hash_part(file: &File, mut hasher: blake3::Hasher, part: Range<u64>, stop: &Stop) -> io::Result<Option<blake3::Hasher>> {
    // Of a hole nothing is read.
    stop.check()?;
    let mut done_bytes = part.start;
    let size_bytes = part.end - part.start;
    // One read is cheaper than to ask for holes, and a hole in it reads as zeros.
    let extents: &mut dyn Iterator<Item = io::Result<Range<u64>>> = if size_bytes <= BLOCK_BYTES as u64 {
        &mut std::iter::once(Ok(part.clone()))
    } else {
        &mut DataExtents::within(file, part.clone())
    };
    let mut buffer = vec![0; usize::try_from(size_bytes).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES)];
    for extent in extents {
        let extent = extent?;
        hash_zeros(&mut hasher, extent.start - done_bytes);
        let mut at = extent.start;
        while at < extent.end {
            stop.check()?;
            let wanted = usize::try_from(extent.end - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            let read = file.read_at(&mut buffer[..wanted], at)?;
            if read == 0 {
                return Ok(None);
            }
            hasher.update(&buffer[..read]);
            at += read as u64;
        }
        done_bytes = extent.end;
    }
    hash_zeros(&mut hasher, part.end - done_bytes);
    Ok(Some(hasher))
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    while count > 0 {
        let now = usize::try_from(count).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        hasher.update(&ZEROS[..now]);
        count -= now as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_size_has_the_digest_of_its_bytes() {
        let piece = usize::try_from(PIECE_BYTES).expect("it fits");
        let bytes: Vec<u8> = (0..5 * piece + 4097).map(|at| (at * 31 + at / 251).to_le_bytes()[0]).collect();
        for size in [0, 1, BLOCK_BYTES + 1, piece, piece + 1, 2 * piece, 2 * piece + 1024, 3 * piece, 5 * piece + 4097] {
            let file = tempfile::tempfile().expect("a temporary file");
            file.write_all_at(&bytes[..size], 0).expect("written");
            let found = hash_sparse(&file, size as u64).expect("read");
            assert_eq!(found, Some(ContentHash::of(&bytes[..size])), "{size} bytes");
        }
    }

    #[test]
    fn holes_count_as_zeros_wherever_they_are() {
        let size = 3 * PIECE_BYTES + 5;
        for data_at in [0, PIECE_BYTES - 1, 2 * PIECE_BYTES, size - 1] {
            let file = tempfile::tempfile().expect("a temporary file");
            file.set_len(size).expect("set");
            file.write_all_at(&[7], data_at).expect("written");
            let mut bytes = vec![0; usize::try_from(size).expect("it fits")];
            bytes[usize::try_from(data_at).expect("it fits")] = 7;
            assert_eq!(hash_sparse(&file, size).expect("read"), Some(ContentHash::of(&bytes)), "data at {data_at}");
        }
    }

    #[test]
    fn a_digest_that_nobody_waits_for_is_not_made() {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(b"bytes", 0).expect("written");
        file.set_len(1 << 40).expect("set");
        let stop = Stop::default();
        stop.set();
        for size in [5, 1 << 40] {
            assert!(hash_sparse_until(&file, size, &stop).is_err(), "{size} bytes");
        }
    }

    #[test]
    fn work_comes_back_in_order_and_the_first_error_counts() {
        assert_eq!(in_parallel(100, &Ok).expect("done"), (0..100).collect::<Vec<_>>());
        let failed = in_parallel(100, &|number| if number < 40 { Ok(()) } else { Err(io::Error::other(number.to_string())) });
        assert_eq!(failed.expect_err("it fails").to_string(), "40");
    }

    #[test]
    fn after_an_error_no_more_work_is_begun() {
        let begun = AtomicUsize::new(0);
        let work = |number| {
            begun.fetch_add(1, Ordering::Relaxed);
            if number == 3 { Err(io::Error::other("it fails")) } else { Ok(()) }
        };
        assert!(in_threads(1000, &work, std::iter::empty()).is_err());
        assert_eq!(begun.into_inner(), 4);
    }

    #[test]
    fn where_no_thread_can_be_made_the_work_is_done_all_the_same() {
        // No address space has room for such a stack.
        let others = (0..3).map(|_| Builder::new().stack_size(1 << 50));
        assert_eq!(in_threads(100, &Ok, others).expect("done"), (0..100).collect::<Vec<_>>());
    }
}
