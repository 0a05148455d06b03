//! Where things are mounted in a sandbox's root, and a layer of stand-ins where the image has no such place.
//!
//! A mount point made in the upper directory would become part of the step's layer. Those that the image lacks are
//! made in a layer of the sandbox's own instead, whose directories look like the image's.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Component, Path},
};

use crate::{
    attributes,
    failure::{Context, Failed},
    protocol::{FailureKind, Mount},
};

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Proc,
    Sys,
    Dev,
    Hosts,
    ResolvConf,
    /// The mount of this number that the step asks for.
    Step(usize),
}

/// A place for one mount.
#[derive(Debug)]
pub(crate) struct MountPoint {
    pub(crate) kind: Kind,
    /// The place below the root, with all symbolic links in it resolved.
    pub(crate) resolved: String,
    is_directory: bool,
    exists: bool,
    /// Whether it lies in an earlier mount of the step: then it is to be [found there](find_inside).
    pub(crate) is_inside: bool,
}

/// Finds the mount points in the image that is mounted at `view`, those for `mounts` last.
pub(crate) fn find(view: &str, mounts: &[Mount]) -> Result<Vec<MountPoint>, Failed> {
    let wanted = [
        (Kind::Proc, "proc"),
        (Kind::Sys, "sys"),
        (Kind::Dev, "dev"),
        (Kind::Hosts, "etc/hosts"),
        (Kind::ResolvConf, "etc/resolv.conf"),
    ];
    let found = wanted.into_iter().filter_map(|(kind, path)| find_one(view, kind, path).transpose());
    let mut points: Vec<MountPoint> = found.collect::<Result<_, _>>()?;
    for (number, mount) in mounts.iter().enumerate() {
        let point = find_for(view, number, mount, &points)?;
        points.push(point);
    }
    Ok(points)
}

/// The place for a mount of the step. `points` are those before it.
fn find_for(view: &str, number: usize, mount: &Mount, points: &[MountPoint]) -> Result<MountPoint, Failed> {
    let (target, resolved) = resolve_target(view, mount)?;
    let lies_in =
        |point: &&MountPoint| matches!(point.kind, Kind::Step(_)) && Path::new(&resolved).starts_with(&point.resolved);
    let is_inside = points.iter().any(|point| lies_in(&point));
    let exists = is_inside || exists_as(view, &target, &resolved, mount.is_directory())?;
    Ok(MountPoint { kind: Kind::Step(number), resolved, is_directory: mount.is_directory(), exists, is_inside })
}

/// The place below `root`, with everything mounted there that comes before `mount`, for a mount inside of an earlier one.
/// What is missing is made, if that mount can be written to.
pub(crate) fn find_inside(root: &str, mount: &Mount) -> Result<String, Failed> {
    let (target, resolved) = resolve_target(root, mount)?;
    if !exists_as(root, &target, &resolved, mount.is_directory())? {
        let action = format!("make a mount point at /{target} in another mount");
        let place = below(root, &resolved);
        let directory = if mount.is_directory() { Some(Path::new(&place)) } else { Path::new(&place).parent() };
        fs::create_dir_all(directory.unwrap_or(Path::new(root))).context(&action)?;
        if !mount.is_directory() {
            fs::write(&place, []).context(&action)?;
        }
    }
    Ok(resolved)
}

/// Where a mount of the step goes: as it was asked for, without the slash, and with links resolved.
fn resolve_target(root: &str, mount: &Mount) -> Result<(String, String), Failed> {
    let target = String::from_utf8_lossy(&mount.target).trim_matches('/').to_owned();
    let resolved = resolve(root, &target).context(&format!("mount on /{target}"))?;
    match resolved.split('/').next().unwrap_or_default() {
        "" => Err(refused(&target, "is the root")),
        "proc" | "sys" | "dev" => Err(refused(&target, "lies in /proc, /sys or /dev, which are the sandbox's own")),
        _ => Ok((target, resolved)),
    }
}

/// Whether `resolved` is there; an error if it is there as something else.
fn exists_as(root: &str, target: &str, resolved: &str, is_directory: bool) -> Result<bool, Failed> {
    match fs::symlink_metadata(below(root, resolved)) {
        Ok(metadata) if metadata.is_dir() && !is_directory => Err(refused(target, "is a directory")),
        Ok(metadata) if !metadata.is_dir() && is_directory => Err(refused(target, "is not a directory")),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).start_context(&format!("look at /{target} in the image")),
    }
}

/// The place for `kind`; `None` for a file that the image wants to have where one of the sandbox's own file systems will
/// be: a mount there would put it in the place of a device, or lead out of the root through a link of `/proc`.
fn find_one(view: &str, kind: Kind, path: &str) -> Result<Option<MountPoint>, Failed> {
    let is_file = matches!(kind, Kind::Hosts | Kind::ResolvConf);
    let resolved = resolve(view, path).start_context(&format!("resolve /{path} in the image"))?;
    let first = resolved.split('/').next().unwrap_or_default();
    if is_file && matches!(first, "proc" | "sys" | "dev") {
        return Ok(None);
    }
    if !is_file && resolved != path {
        return Err(refused(path, "is a symbolic link"));
    }
    let exists = exists_as(view, path, &resolved, !is_file)?;
    Ok(Some(MountPoint { kind, resolved, is_directory: !is_file, exists, is_inside: false }))
}

/// Makes those of `points` that are missing in `view` below `layer`; tells whether there were any.
pub(crate) fn make_missing(view: &str, layer: &str, points: &[MountPoint]) -> Result<bool, Failed> {
    let missing = || points.iter().filter(|point| !point.exists);
    for point in missing() {
        let action = format!("make a mount point at /{}", point.resolved);
        let parents: Vec<_> = Path::new(&point.resolved).ancestors().skip(1).collect();
        for parent in parents.iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
            make_directory(view, layer, &parent.to_string_lossy()).context(&action)?;
        }
        let place = below(layer, &point.resolved);
        match point.is_directory {
            false => fs::write(&place, []).context(&action)?,
            true => make_directory(view, layer, &point.resolved).context(&action)?,
        }
    }
    // Last, since making something in a directory changes its time.
    for point in missing() {
        for parent in Path::new(&point.resolved).ancestors().skip(1) {
            let parent = parent.to_string_lossy();
            if !parent.is_empty() {
                look_alike(view, layer, &parent).context("make mount points")?;
            }
        }
    }
    Ok(missing().next().is_some())
}

fn make_directory(view: &str, layer: &str, path: &str) -> io::Result<()> {
    match fs::create_dir(below(layer, path)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.and_then(|()| look_alike(view, layer, path)),
    }
}

fn look_alike(view: &str, layer: &str, path: &str) -> io::Result<()> {
    match attributes::copy(&below(view, path), &below(layer, path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => attributes::set_epoch(&below(layer, path)),
        other => other,
    }
}

/// Where `path` leads in the tree at `view`, taken as a root of its own. What does not exist is kept as it is written.
fn resolve(view: &str, path: &str) -> io::Result<String> {
    let mut waiting: VecDeque<String> = components(path);
    let mut resolved: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(name) = waiting.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        resolved.push(name);
        let place = below(view, &resolved.join("/"));
        let target = match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_symlink() => fs::read_link(&place)?,
            Ok(metadata) if !metadata.is_dir() && !waiting.is_empty() => {
                return Err(io::Error::from(io::ErrorKind::NotADirectory));
            }
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::other("too many symbolic links"));
        }
        let target = target.to_str().ok_or_else(|| io::Error::other("a symbolic link that is not UTF-8"))?;
        resolved.pop();
        if target.starts_with('/') {
            resolved.clear();
        }
        for name in components(target).into_iter().rev() {
            waiting.push_front(name);
        }
    }
    Ok(resolved.join("/"))
}

fn components(path: &str) -> VecDeque<String> {
    let parts = Path::new(path).components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        Component::ParentDir => Some("..".to_owned()),
        _ => None,
    });
    parts.collect()
}

fn below(root: &str, path: &str) -> String {
    format!("{root}/{path}")
}

fn refused(path: &str, what: &str) -> Failed {
    Failed::new(FailureKind::Setup, format!("mount on /{path}"), format!("in the image it {what}"))
}
