//! Hostile bytes as frames: no panic, and what is accepted is encoded and read as it was.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| treesync::hostile::frames(bytes));
