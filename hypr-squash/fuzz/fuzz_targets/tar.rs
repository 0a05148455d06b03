//! A hostile archive.
//!
//! `cargo +nightly fuzz run tar --features libfuzzer` in the folder of the crate.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hypr_squash_fuzz::tar(bytes));
