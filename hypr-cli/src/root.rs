//! `--root`: which store a command works on.

use std::path::PathBuf;

use clap::Args;
use hypr_build::store::{Store, resolve_root};

use crate::failure::Failure;

/// The option that all commands on a store share.
#[derive(Debug, Clone, Args)]
pub(crate) struct RootArg {
    /// The store: by default $HYPR_ROOT, then /var/lib/hypr for root and $XDG_DATA_HOME/hypr for others
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
}

impl RootArg {
    /// Where the store is.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        Ok(resolve_root(self.root.as_deref())?)
    }

    /// Opens the store if there is one, to look at it.
    pub(crate) fn look(&self) -> Result<Option<Store>, Failure> {
        Ok(Store::open_to_look(&self.path()?)?)
    }

    /// Opens the store if there is one: a command that only removes makes none.
    pub(crate) fn open(&self) -> Result<Option<Store>, Failure> {
        let path = self.path()?;
        Ok(if path.exists() { Some(Store::open(&path)?) } else { None })
    }
}
