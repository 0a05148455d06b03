//! Queues, transport, disk and console take whatever a guest does: `cargo +nightly fuzz run devices --features libfuzzer`
//! in the folder of the crate.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hypr_vmm_fuzz::devices(bytes));
