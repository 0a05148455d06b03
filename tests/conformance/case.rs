//! A case as its folder has it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{entry, peer::Peer};

/// One Dockerfile and what has to become of it.
pub(crate) struct Case {
    /// `GROUP/NAME`.
    pub(crate) name: String,
    folder: PathBuf,
    /// The instructions and flags that it proves.
    pub(crate) proves: Vec<String>,
    /// Why others do something else.
    differing: Vec<(Peer, String)>,
    /// Flags of the build, one a line.
    pub(crate) options: Vec<String>,
    pub(crate) tree: Option<Vec<String>>,
    pub(crate) config: Option<Value>,
    pub(crate) error: Option<String>,
}

/// Whether the expected trees are to be written and not compared.
pub(crate) fn is_updating() -> bool {
    std::env::var_os("HYPR_CONFORMANCE_UPDATE").is_some()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases")
}

/// The names of the folders below `path`, in order.
fn folders(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The groups that there are.
pub(crate) fn groups() -> Vec<String> {
    folders(&root())
}

impl Case {
    /// The cases of a group, in the order of their names.
    pub(crate) fn of_group(group: &str) -> Vec<Self> {
        let folder = root().join(group);
        folders(&folder).into_iter().map(|name| Self::read(format!("{group}/{name}"), folder.join(name))).collect()
    }

    fn read(name: String, folder: PathBuf) -> Self {
        let text = |file: &str| fs::read_to_string(folder.join(file)).ok();
        let about = text("about.txt").unwrap_or_else(|| panic!("{name} has no about.txt"));
        let about: Vec<(&str, &str)> = about.lines().filter_map(|line| line.split_once(": ")).collect();
        let values = |key: &str| -> Vec<String> {
            about.iter().filter(|(known, _)| *known == key).map(|(_, value)| (*value).to_owned()).collect()
        };
        let proves = values("proves");
        assert!(!proves.is_empty(), "{name} does not say what it proves");
        let differing =
            Peer::ALL.into_iter().flat_map(|peer| values(peer.name()).into_iter().map(move |why| (peer, why)));
        let differing = differing.collect();
        let config = text("config.json");
        let config = config.map(|text| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")));
        let options = text("options.txt").unwrap_or_default().lines().map(str::to_owned).collect();
        let tree = text("expected.txt").map(|text| text.lines().map(str::to_owned).collect());
        let error = text("error.txt");
        assert!(tree.is_some() || config.is_some() || error.is_some() || is_updating(), "{name} expects nothing");
        Self { proves, differing, options, tree, config, error, name, folder }
    }

    /// The Dockerfile, byte for byte.
    pub(crate) fn dockerfile(&self) -> Vec<u8> {
        fs::read(self.folder.join("Dockerfile")).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Why this builder does something else.
    pub(crate) fn differing(&self, peer: Peer) -> Option<&str> {
        self.differing.iter().find(|(known, _)| *known == peer).map(|(_, why)| why.as_str())
    }

    /// Whether it needs a server.
    pub(crate) fn is_served(&self) -> bool {
        ["served.txt", "repository.txt"].iter().any(|list| self.folder.join(list).exists())
    }

    /// Makes the build context in a new folder, and the Dockerfile in it.
    pub(crate) fn write_context(&self, to: &Path) {
        self.write_files("context.txt", to);
        fs::write(to.join("Dockerfile"), self.dockerfile()).expect("a file in the context");
    }

    /// Makes the files that one of the case's lists names in a new folder; false if there is no such list.
    pub(crate) fn write_files(&self, list: &str, to: &Path) -> bool {
        fs::create_dir(to).expect("a new folder");
        let lines = fs::read_to_string(self.folder.join(list));
        for line in lines.iter().flat_map(|lines| lines.lines()).filter(|line| !line.is_empty()) {
            entry::make(line, to).unwrap_or_else(|error| panic!("{}: {line:?}: {error}", self.name));
        }
        lines.is_ok()
    }

    /// Writes what was built as what is expected.
    pub(crate) fn update(&self, tree: &[String]) {
        if self.error.is_none() && (self.tree.is_some() || self.config.is_none()) {
            let text: String = tree.iter().map(|line| format!("{line}\n")).collect();
            fs::write(self.folder.join("expected.txt"), text).expect("a file of the case");
        }
    }
}
