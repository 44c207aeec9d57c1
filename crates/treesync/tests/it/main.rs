//! Tests of treesync as a whole: trees, copies, the wire, the program, and trees judged by rsync.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

mod apply;
mod certificates;
mod copy_model;
mod deep;
mod disk;
mod drift;
mod feed_filesystems;
mod follower;
mod held_mapping;
mod hostile_bytes;
mod hot_files;
mod index_crash;
mod index_floor;
mod index_history;
mod keeper;
mod let_go;
mod measured;
mod oracle;
mod processes;
mod program;
mod publish_follow;
mod publish_kill;
mod publish_operations;
mod raw_clone;
mod real_trees;
mod reconcile;
mod refused;
mod renewal;
mod rsync;
mod scripted;
mod session;
mod source_model;
mod stage;
mod still;
mod tree;
mod verify_dropped;
mod verify_resume;
mod wire;
mod worker;
