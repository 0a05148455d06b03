//! Every frame of an agent, and every frame for one, is answered; what is understood means the same when it is sent on.
//!
//! `cargo +nightly fuzz run protocol` in the folder of the crate.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../agent/protocol/mod.rs"]
#[allow(dead_code, reason = "shared with the agent and the library, which use all of it")]
mod protocol;

use protocol::{HEADER, MAX_REPORT, MAX_REQUEST, Report, Request, parse_header};

fuzz_target!(|bytes: &[u8]| {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else { return };
    if let Ok((kind, length)) = parse_header(*header, MAX_REPORT)
        && let Some(Ok(report)) = body.get(..length).map(|body| Report::decode(kind, body))
    {
        let again = report.encode();
        assert_eq!(Report::decode(again[0], &again[HEADER..]), Ok(report));
    }
    if let Ok((kind, length)) = parse_header(*header, MAX_REQUEST)
        && let Some(Ok(request)) = body.get(..length).map(|body| Request::decode(kind, body))
    {
        let again = request.encode();
        assert_eq!(Request::decode(again[0], &again[HEADER..]), Ok(request));
    }
});
