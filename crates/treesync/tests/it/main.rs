//! Tests of treesync as a whole: the wire, the program, and trees judged by rsync.

mod certificates;
mod scripted;
mod wire;
