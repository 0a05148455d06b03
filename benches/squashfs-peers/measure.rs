//! Runs a program and tells what it cost, from the kernel's books.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// What one run cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Processor time, that of the kernel on its behalf included.
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// Largest resident set in bytes.
    pub(crate) peak: u64,
}

/// Runs a command to its end, with `stdin` as its input.
pub(crate) fn run(command: &mut Command, stdin: Option<File>) -> Result<Cost> {
    let mut messages = tempfile::tempfile()?;
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::null()).stderr(messages.try_clone()?);
    let started = Instant::now();
    let child = command.spawn()?;
    let (status, usage) = wait(child.id())?;
    let wall = started.elapsed();
    if status != 0 {
        let mut text = String::new();
        messages.rewind()?;
        messages.read_to_string(&mut text)?;
        return Err(format!("{command:?}: status {status}\n{text}").into());
    }
    let time = |time: libc::timeval| {
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_usec).unwrap_or(0) * 1000)
    };
    let cpu = time(usage.ru_utime) + time(usage.ru_stime);
    Ok(Cost { cpu, wall, peak: u64::try_from(usage.ru_maxrss)? << 10 })
}

/// Waits for a child that nobody else waits for.
fn wait(child: u32) -> Result<(i32, libc::rusage)> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers lead to locals of the types that the call writes.
    let waited = unsafe { libc::wait4(libc::pid_t::try_from(child)?, &raw mut status, 0, usage.as_mut_ptr()) };
    if waited < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: it was zeroed, which is a value of this type, and then perhaps written by the call.
    Ok((status, unsafe { usage.assume_init() }))
}

/// The median of each figure.
pub(crate) fn median(costs: &[Cost]) -> Cost {
    fn middle<T: Ord + Copy>(mut values: Vec<T>) -> T {
        values.sort_unstable();
        values[values.len() / 2]
    }
    Cost {
        cpu: middle(costs.iter().map(|cost| cost.cpu).collect()),
        wall: middle(costs.iter().map(|cost| cost.wall).collect()),
        peak: middle(costs.iter().map(|cost| cost.peak).collect()),
    }
}
