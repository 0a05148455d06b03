//! Directory trees that hold ids which only a user namespace can give and take: unpacked layers, and what killed steps
//! left behind.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
};

use crate::{
    channel::Channel,
    extract,
    failure::{Context, Failed},
    protocol::{FailureKind, Report},
    scratch,
    session::{enter_user_namespace, out_of_order},
    sys::process,
};

/// Unpacks the layer that comes over the second descriptor into the directory that is the first.
pub(crate) fn unpack(channel: &mut Channel) -> Result<(), Failed> {
    let [directory, archive] = <[OwnedFd; 2]>::try_from(channel.take_descriptors(2)?).map_err(|_| out_of_order())?;
    if !enter_user_namespace(channel)? {
        return Ok(());
    }
    extract::extract(&mut File::from(archive), directory.as_fd()).map_err(|error| {
        Failed::new(FailureKind::Setup, "unpack a layer for this user's namespaces", error.to_string())
    })?;
    channel.send(&Report::Done)
}

/// Removes the tree `name` in the directory that is the first descriptor.
pub(crate) fn remove(channel: &mut Channel, name: &[u8]) -> Result<(), Failed> {
    let [directory] = <[OwnedFd; 1]>::try_from(channel.take_descriptors(1)?).map_err(|_| out_of_order())?;
    let name = std::str::from_utf8(name).ok().filter(|name| !matches!(*name, "" | "." | "..") && !name.contains('/'));
    let name = name.ok_or_else(out_of_order)?;
    if !enter_user_namespace(channel)? {
        return Ok(());
    }
    process::change_directory(&directory).context("enter the directory of a tree")?;
    remove_from_here(name).context(&format!("remove {name}"))?;
    channel.send(&Report::Done)
}

fn remove_from_here(name: &str) -> io::Result<()> {
    match fs::symlink_metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(metadata) if metadata.is_dir() => {}
        other => return other.and_then(|_| fs::remove_file(name)),
    }
    // Taking a tree apart puts parts of it beside it, so it gets a place of its own. If that is left behind, it is what
    // is found and removed the next time.
    let place = format!("{name}-{}", std::process::id());
    fs::create_dir(&place)?;
    fs::rename(name, format!("{place}/tree"))?;
    std::env::set_current_dir(&place)?;
    scratch::remove_tree("tree")?;
    std::env::set_current_dir("..")?;
    fs::remove_dir(place)
}
