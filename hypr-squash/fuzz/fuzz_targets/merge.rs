//! Two hostile layers.
//!
//! `cargo +nightly fuzz run merge --features libfuzzer` in the folder of the crate.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hypr_squash_fuzz::merge(bytes));
