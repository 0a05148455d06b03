//! The last steps of a child before it becomes the step's process.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::fchown,
    },
};

use crate::{
    failure::{Context, Failed},
    init::Plan,
    protocol::{FailureKind, Process},
    sys::{pipe, process},
};

/// Where programs are looked for when the environment has no `PATH`; Docker's default for Linux.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const EINVAL: i32 = 22;

/// Becomes the process; returns only when that fails.
pub(crate) fn launch(plan: &Plan, stdout: &OwnedFd, stderr: &OwnedFd) -> Failed {
    match prepare(plan, stdout, stderr) {
        Ok(never) => match never {},
        Err(failed) => failed,
    }
}

fn prepare(plan: &Plan, stdout: &OwnedFd, stderr: &OwnedFd) -> Result<std::convert::Infallible, Failed> {
    let process = &plan.process;
    let args = strings(&process.args, "arguments")?;
    let env = strings(&process.env, "environment")?;
    join_cgroups(&plan.cgroups)?;
    process::new_session();
    connect_streams(process, stdout, stderr)?;
    process::reset_signals();
    process::umask(0o022);
    // A dump would land in the layer.
    process::limit(process::RLIMIT_CORE, 0, 0).context("limit core dumps")?;
    process::limit(process::RLIMIT_NOFILE, 1024, 1 << 20).context("limit open files")?;
    // As root, since an image may well have its user start in a directory that the user may not enter.
    std::env::set_current_dir(as_path(&process.cwd)).start_context(&format!("enter {}", shown(&process.cwd)))?;

    process::bound_capabilities(process.capabilities).context("bound capabilities")?;
    if !process.seccomp.is_empty() {
        // Now, since installing a filter without no_new_privs, which would break set-uid programs, takes a capability.
        process::filter_system_calls(&process.seccomp).context("install the seccomp filter")?;
    }
    if !keeps_groups(process) {
        process::set_groups(&process.groups).start_context("set the supplementary groups")?;
    }
    process::become_user(process.uid, process.gid)
        .start_context(&format!("become user {}:{}", process.uid, process.gid))?;
    let capabilities = if process.uid == 0 { process.capabilities } else { 0 };
    process::set_capabilities(capabilities).context("set capabilities")?;
    execute(process, &args, &env)
}

/// Whether this process's groups are left alone, because it is in a user namespace where nobody may set them: one that
/// was made without the help of `newgidmap`. Those of the user who runs hypr mean nothing for what is in the sandbox.
fn keeps_groups(process: &Process) -> bool {
    let needs_none = process.groups.iter().all(|group| *group == process.gid);
    needs_none && std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

/// Moves this process into the step's control groups and makes these the root of what it can see of them.
fn join_cgroups(cgroups: &[OwnedFd]) -> Result<(), Failed> {
    for cgroup in cgroups {
        let file = File::from(cgroup.try_clone().context("join a control group")?);
        io::Write::write_all(&mut &file, b"0").context("join a control group")?;
    }
    match process::unshare(process::NEW_CGROUP) {
        // A kernel without control groups.
        Err(error) if error.raw_os_error() == Some(EINVAL) => Ok(()),
        other => other.context("make a control group namespace"),
    }
}

fn connect_streams(process: &Process, stdout: &OwnedFd, stderr: &OwnedFd) -> Result<(), Failed> {
    let null = File::open("/dev/null").context("open /dev/null")?;
    pipe::place(null.as_fd(), 0).context("connect standard input")?;
    for (fd, number) in [(stdout, 1), (stderr, 2)] {
        // Without it, a process that is not root could not open /dev/stdout.
        fchown(fd, Some(process.uid), Some(process.gid)).start_context("hand over standard output")?;
        pipe::place(fd.as_fd(), number).context("connect standard output")?;
    }
    Ok(())
}

/// Executes the program, looked for in `PATH` as `execvp` does.
fn execute(process: &Process, args: &[CString], env: &[CString]) -> Result<std::convert::Infallible, Failed> {
    let program = args.first().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| start("the command is empty"))?.as_bytes();
    let candidates: Vec<Vec<u8>> = if program.contains(&b'/') {
        vec![program.to_vec()]
    } else {
        search_path(process).split(|&byte| byte == b':').map(|directory| join(directory, program)).collect()
    };
    let mut denied = false;
    for candidate in candidates {
        let Ok(path) = CString::new(candidate) else { continue };
        let Err(error) = process::execute(&path, args, env);
        match error.raw_os_error() {
            Some(ENOENT | ENOTDIR) if path.as_bytes() == program && as_path(program).exists() => {
                return Err(start("its interpreter was not found"));
            }
            Some(ENOENT | ENOTDIR) => {}
            Some(EACCES) => denied = true,
            Some(ENOEXEC) => return Err(start("exec format error: no program for this machine and no `#!` line")),
            _ => return Err(error).start_context("execute it"),
        }
    }
    Err(start(if denied { "permission denied" } else { "not found" }))
}

fn search_path(process: &Process) -> &[u8] {
    process.env.iter().find_map(|variable| variable.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH)
}

fn join(directory: &[u8], program: &[u8]) -> Vec<u8> {
    // An empty entry means the working directory.
    let directory = if directory.is_empty() { b"." } else { directory };
    [directory, b"/", program].concat()
}

fn strings(items: &[Vec<u8>], what: &str) -> Result<Vec<CString>, Failed> {
    let strings = items.iter().map(|item| CString::new(&item[..]));
    strings.collect::<Result<_, _>>().map_err(|_| start(&format!("a zero byte in its {what}")))
}

fn start(reason: &str) -> Failed {
    Failed::new(FailureKind::Start, "start the process", reason)
}

fn as_path(bytes: &[u8]) -> &std::path::Path {
    std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

fn shown(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
