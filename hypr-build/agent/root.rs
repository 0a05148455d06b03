//! The root of a sandbox: an overlay over the step's layers, with what a process expects to be mounted in it.
//!
//! Everything is mounted on a stage, a tmpfs in the scratch directory that only this mount namespace has. Relative
//! names keep the overlay's options short, since all of them have to fit into one page.

use std::{
    ffi::CString,
    fs,
    os::fd::{AsFd, OwnedFd},
    slice::Iter,
};

use crate::{
    attributes, devices,
    failure::{Context, Failed},
    mount_points::{self, Kind, MountPoint},
    protocol::{Access, Content, FailureKind, Lower, Mount, Sandbox},
    scratch::STAGE,
    streams::socket_name,
    sys::mount::{self, NO_ATIME, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY, RECURSIVE},
};

/// The most layers that overlayfs stacks, less those that are added here.
const MAX_LAYERS: usize = 490;

/// Builds the root and moves this mount namespace into it. The working directory is the scratch directory before and
/// the new root after.
pub(crate) fn build(sandbox: &Sandbox, mounts: &[OwnedFd]) -> Result<(), Failed> {
    let stage = c_string(STAGE);
    mount::mount(c"tmpfs", &stage, c"tmpfs", NO_SUID | NO_EXEC, c"mode=700").context("mount the stage")?;
    std::env::set_current_dir(STAGE).context("enter the stage")?;
    for name in ["empty", "void", "view", "points", "root"] {
        fs::create_dir(name).context("make the stage")?;
    }
    let mut mounts = mounts.iter();
    let layers = attach_layers("", &sandbox.lowers, &mut mounts)?;
    for (number, mount) in sandbox.mounts.iter().enumerate() {
        prepare_tree(number, mount, sandbox.user_namespace, &mut mounts)?;
    }

    // The layers alone show what the image has; two empty directories make a stack even of none.
    mount_overlay("view", &format!("lowerdir={layers}empty:void"), READ_ONLY)?;
    let mount_points = mount_points::find("view", &sandbox.mounts)?;
    let missing = mount_points::make_missing("view", "points", &mount_points)?;
    match sandbox.lowers.is_empty() {
        // The root directory takes its owner, mode and times from the upper directory, so these have to be the image's.
        false => attributes::copy("view", "../upper"),
        true => attributes::set_epoch("../upper"),
    }
    .context("prepare the upper directory")?;
    mount::detach(c"view").context("unmount the view")?;

    let points = if missing { "points:" } else { "" };
    mount_writable("root", &format!("{points}{layers}empty"), "", sandbox.user_namespace)?;
    for point in &mount_points {
        mount_on(point, sandbox)?;
    }
    std::env::set_current_dir("root").context("enter the root")?;
    mount::pivot_into_working_directory().context("change the root")
}

/// What the directories of a mount of the step begin with.
pub(crate) fn mount_name(number: u32) -> String {
    format!("mount-{number}-")
}

/// Makes the tree that a mount of the step shows appear under the mount's name.
fn prepare_tree(
    number: usize,
    mount: &Mount,
    user_namespace: bool,
    mounts: &mut Iter<'_, OwnedFd>,
) -> Result<(), Failed> {
    let Content::Tree { lowers, access, .. } = &mount.content else { return Ok(()) };
    let name = mount_name(u32::try_from(number).unwrap_or(u32::MAX));
    let layers = attach_layers(&name, lowers, mounts)?;
    fs::create_dir(&name).context("make the stage")?;
    let xattrs = if user_namespace { ",userxattr" } else { "" };
    mount_overlay(&name, &format!("lowerdir={layers}empty:void{xattrs}"), READ_ONLY | NO_DEV | NO_ATIME)?;
    if *access == Access::ReadOnly {
        return Ok(());
    }
    attributes::copy(&name, &format!("../{name}upper")).context("prepare the upper directory of a mount")?;
    mount::detach(&c_string(&name)).context("unmount the view of a mount")?;
    mount_writable(&name, &format!("{layers}empty"), &name, user_namespace)
}

/// Mounts an overlay whose upper and work directories are those called `name`.
fn mount_writable(target: &str, lowers: &str, name: &str, user_namespace: bool) -> Result<(), Failed> {
    let xattrs = if user_namespace { ",userxattr" } else { "" };
    let options = format!(
        "lowerdir={lowers},upperdir=../{name}upper,workdir=../{name}work,\
         redirect_dir=nofollow,metacopy=off,index=off,xino=off{xattrs}"
    );
    // Nothing in the upper directory outlives a crash, so nothing in it needs to be synchronized.
    if mount_overlay(target, &format!("{options},volatile"), NO_DEV | NO_ATIME).is_err() {
        mount_overlay(target, &options, NO_DEV | NO_ATIME)?;
    }
    Ok(())
}

/// Makes each layer appear under `prefix` and its number; returns the names as overlayfs wants them, the highest layer
/// first.
fn attach_layers(prefix: &str, lowers: &[Lower], mounts: &mut Iter<'_, OwnedFd>) -> Result<String, Failed> {
    if lowers.len() > MAX_LAYERS {
        let reason = format!("overlayfs takes {MAX_LAYERS}");
        return Err(Failed::new(FailureKind::Setup, format!("stack {} layers", lowers.len()), reason));
    }
    let mut names = String::new();
    for (number, lower) in lowers.iter().enumerate() {
        let name = format!("{prefix}{number}");
        fs::create_dir(&name).context("make the stage")?;
        let target = c_string(&name);
        match lower {
            Lower::Mount => match mounts.next() {
                Some(layer) => mount::attach(layer.as_fd(), &target).context("attach a layer")?,
                None => {
                    return Err(Failed::new(FailureKind::Protocol, "attach the layers", "fewer came than announced"));
                }
            },
            Lower::Directory(path) => {
                let path = CString::new(&path[..]).unwrap_or_default();
                mount::bind(&path, &target, 0).context("attach a layer")?;
            }
        }
        names = format!("{name}:{names}");
    }
    Ok(names)
}

fn mount_overlay(target: &str, options: &str, flags: std::ffi::c_ulong) -> Result<(), Failed> {
    mount::mount(c"overlay", &c_string(target), c"overlay", flags, &c_string(options)).context("mount the overlay")
}

fn mount_on(point: &MountPoint, sandbox: &Sandbox) -> Result<(), Failed> {
    let target = format!("root/{}", point.resolved);
    let at = c_string(&target);
    let plain = NO_SUID | NO_DEV | NO_EXEC;
    match point.kind {
        Kind::Proc => mount::mount(c"proc", &at, c"proc", plain, c"").context("mount /proc"),
        Kind::Sys => match mount::mount(c"sysfs", &at, c"sysfs", plain | READ_ONLY, c"") {
            // A user namespace does not own the host's network, and so may not mount its view of `/sys`.
            Err(_) if sandbox.user_namespace && sandbox.host_network => {
                mount::bind(c"/sys", &at, RECURSIVE).context("mount /sys")?;
                mount::remount_bind(&at, plain | READ_ONLY).context("mount /sys")
            }
            other => other.context("mount /sys"),
        },
        Kind::Dev => devices::populate(&target, sandbox.user_namespace, &sandbox.programs),
        Kind::Hosts => mount_file("hosts", &sandbox.hosts, &at),
        Kind::ResolvConf => mount_file("resolv.conf", &sandbox.resolv_conf, &at),
        Kind::Step(number) => mount_step(number, point, &sandbox.mounts[number]),
    }
}

/// Mounts what the step asks for.
fn mount_step(number: usize, point: &MountPoint, mount: &Mount) -> Result<(), Failed> {
    let resolved = match point.is_inside {
        true => &mount_points::find_inside("root", mount)?,
        false => &point.resolved,
    };
    let (target, name) = (format!("root/{resolved}"), mount_name(u32::try_from(number).unwrap_or(u32::MAX)));
    let (at, action) = (c_string(&target), format!("mount /{resolved}"));
    match &mount.content {
        Content::Tree { source, .. } => {
            let source = CString::new([name.as_bytes(), b"/", source].concat()).unwrap_or_default();
            mount::bind(&source, &at, 0).context(&action)
        }
        Content::Tmpfs { size } => {
            let size = if *size == 0 { String::new() } else { format!(",size={size}") };
            let options = c_string(&format!("mode=1777{size}"));
            mount::mount(c"tmpfs", &at, c"tmpfs", NO_SUID | NO_DEV, &options).context(&action)
        }
        Content::File { content, mode, uid, gid } => {
            fs::write(&name, content).context(&action)?;
            std::os::unix::fs::chown(&name, Some(*uid), Some(*gid)).context(&action)?;
            attributes::set_mode(&name, *mode).context(&action)?;
            mount::bind(&c_string(&name), &at, 0).context(&action)?;
            mount::remount_bind(&at, READ_ONLY | NO_SUID | NO_DEV | NO_EXEC).context(&action)
        }
        Content::Socket { .. } => {
            let socket = format!("../{}", socket_name(u32::try_from(number).unwrap_or(u32::MAX)));
            mount::bind(&c_string(&socket), &at, 0).context(&action)?;
            // Connecting changes nothing; its owner and mode stay what they are.
            mount::remount_bind(&at, READ_ONLY | NO_SUID | NO_DEV | NO_EXEC).context(&action)
        }
    }
}

/// Shows `content` at `at`, read-only: what is written there would be lost.
fn mount_file(name: &str, content: &[u8], at: &std::ffi::CStr) -> Result<(), Failed> {
    let action = format!("mount /etc/{name}");
    fs::write(name, content).context(&action)?;
    attributes::set_mode(name, 0o644).context(&action)?;
    mount::bind(&c_string(name), at, 0).context(&action)?;
    mount::remount_bind(at, READ_ONLY | NO_SUID | NO_DEV | NO_EXEC).context(&action)
}

/// Names made here hold no zero bytes.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
