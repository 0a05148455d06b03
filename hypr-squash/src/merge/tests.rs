//! Merges of small stacks.
