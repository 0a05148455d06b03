//! hypr's agent: the small static program that makes one sandbox, runs one process in it and tells what happened.
//!
//! hypr's build script compiles it with the standard library alone and embeds it. Three processes come of it. The
//! *agent* itself stays outside of the sandbox, talks to hypr and never runs a byte of the image. Its child is the
//! *init* of the sandbox's pid namespace (see [`init`]): it builds the root, then starts the step's *process* and
//! reaps what that leaves behind. The channel to hypr is the agent's alone; its end kills the sandbox.
//!
//! In a virtual machine the agent is the first program of all, and first makes the [machine] what the host is otherwise.

mod attributes;
mod baseline;
mod capture;
mod channel;
mod devices;
mod extract;
mod failure;
mod init;
mod launch;
mod machine;
mod marks;
mod masks;
mod mount_points;
mod output;
#[expect(dead_code, reason = "one half of it is hypr's")]
mod protocol;
mod root;
mod scratch;
mod session;
mod sparse;
mod streams;
mod supervise;
mod sys;
mod tar;
mod trees;
mod walk;

use std::process::ExitCode;

use crate::{channel::Channel, protocol::Report, sys::process};

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == machine::NAME) {
        return machine::main();
    }
    process::set_name(c"hypr-agent");
    process::new_session();
    process::umask(0o077);
    // SAFETY: nothing has been opened yet; whatever is there was left open by the program that hypr is part of.
    let closed = unsafe { process::close_all_but(&mut []) };
    let channel = match closed.and_then(|()| session::open_channel()) {
        Ok(channel) => channel,
        Err(_) => return ExitCode::FAILURE,
    };
    talk(channel)
}

/// Serves the channel until it ends. Without hypr there is nobody left to tell of an error.
fn talk(mut channel: Channel) -> ExitCode {
    match session::serve(&mut channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            let _ = channel.send(&Report::Failed(failed.0));
            ExitCode::FAILURE
        }
    }
}
