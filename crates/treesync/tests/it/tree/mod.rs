//! Reading a tree.

mod read;
mod walk;
