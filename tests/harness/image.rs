//! An image as hypr's manifest describes it and as other tools read it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{mounted::Mounted, process::Run, tree::Tree};

/// An image of a store.
#[derive(Debug)]
pub struct Image {
    manifest: Value,
}

impl Image {
    pub(super) fn new(manifest: Value) -> Self {
        Self { manifest }
    }

    /// The manifest as `hypr image inspect` prints it.
    pub fn manifest(&self) -> &Value {
        &self.manifest
    }

    /// `sha256:…`, the digest of the configuration.
    #[track_caller]
    pub fn id(&self) -> &str {
        self.text("/id")
    }

    /// A field of the configuration's `config`, such as `Env`; null where it is not set.
    pub fn config(&self, field: &str) -> &Value {
        self.manifest.pointer("/config/config").map_or(&Value::Null, |config| &config[field])
    }

    /// The environment's variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        let variables = self.config("Env").as_array()?;
        variables.iter().find_map(|pair| pair.as_str()?.strip_prefix(name)?.strip_prefix('='))
    }

    /// The squashfs file.
    #[track_caller]
    pub fn squashfs(&self) -> PathBuf {
        PathBuf::from(self.text("/squashfs/path"))
    }

    /// The squashfs file's digest as the manifest has it.
    #[track_caller]
    pub fn squashfs_digest(&self) -> &str {
        self.text("/squashfs/digest")
    }

    /// What is in the image.
    #[track_caller]
    pub fn tree(&self) -> Tree {
        Tree::of(&self.squashfs())
    }

    /// A file's content.
    #[track_caller]
    pub fn read(&self, path: &str) -> Vec<u8> {
        Run::new("unsquashfs").args(["-cat"]).args([&*self.squashfs(), Path::new(path)]).ok().stdout().to_vec()
    }

    /// A file's content as text.
    #[track_caller]
    pub fn text_of(&self, path: &str) -> String {
        String::from_utf8(self.read(path)).expect("a text file")
    }

    /// Mounts the image where that is possible; says so where not.
    pub fn mount(&self) -> Option<Mounted> {
        Mounted::squashfs(&self.squashfs())
    }

    #[track_caller]
    fn text(&self, pointer: &str) -> &str {
        let value = self.manifest.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("no text at {pointer} in {:#}", self.manifest))
    }
}
