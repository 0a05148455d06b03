//! The image configuration: what an image says about itself and about running it.
//!
//! The OCI document with the fields that Docker adds to it (`OnBuild`, `Shell`, `Healthcheck`, `ArgsEscaped`). The
//! types of `oci-spec` have no place for those, drop what they do not know and write maps in random order, while an
//! image's id is the digest of this very document. So here every map is sorted, what is empty is left out, and fields
//! without a meaning here are carried along.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::{Platform, Sha256Digest};
use crate::digest::Digest;

/// An OCI image configuration with Docker's extensions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who maintains the image, as `MAINTAINER` sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The processor, in Go's words (`amd64`).
    #[serde(default)]
    pub architecture: String,
    /// The operating system, in Go's words (`linux`).
    #[serde(default)]
    pub os: String,
    /// The version of the operating system, for Windows.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The variant of the processor (`v7`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// How to run the image.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: ProcessConfig,
    /// What the root file system is made of.
    #[serde(default, deserialize_with = "null_as_default")]
    pub rootfs: RootFs,
    /// One entry an instruction, first to last.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Fields that hypr has no word for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// How to run an image: the `config` object of the configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessConfig {
    /// `USER` as written: name or number, with or without group. Empty: root.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `EXPOSE`: `80/tcp`.
    #[serde(
        deserialize_with = "keys_of_object",
        serialize_with = "object_of_keys",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value` in order of first appearance.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `ENTRYPOINT`. Empty: none.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// `CMD`. Empty: none.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// `VOLUME`.
    #[serde(
        deserialize_with = "keys_of_object",
        serialize_with = "object_of_keys",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub volumes: BTreeSet<String>,
    /// `WORKDIR`, absolute. Empty: `/`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// `LABEL`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `STOPSIGNAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Whether `cmd` is already escaped for the shell (Windows only).
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// `HEALTHCHECK`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// `ONBUILD` triggers as written, for images built on this one.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// `SHELL`. Empty: `["/bin/sh", "-c"]`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Fields that hypr has no word for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// How to find out whether a container is well. Durations are nanoseconds; zero stands for the runtime's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", command]`.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// From the start, during which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks during the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// What the root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first. An image that hypr has merged has one: its squashfs file's.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<String>,
}

/// What one instruction did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the instruction made no layer.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Fields that hypr has no word for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A configuration that is not JSON of the expected shape.
#[derive(Debug, thiserror::Error)]
#[error("the image configuration is not well formed")]
pub struct InvalidConfig(#[from] serde_json::Error);

impl ImageConfig {
    /// What `FROM scratch` begins with.
    pub fn new(platform: &Platform) -> Self {
        let mut config = Self::default();
        config.set_platform(platform);
        config
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// Fails on what is not a configuration: not JSON, or a field of another type than documented.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidConfig> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The bytes whose digest is the image's id: compact JSON, the same for equal values.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and maps with string keys always serialise")
    }

    /// The image's id.
    pub fn id(&self) -> Sha256Digest {
        Sha256Digest::of(&self.to_bytes())
    }

    /// What an image built `FROM` this one begins with.
    ///
    /// Keeps what a child inherits and drops what is a statement about this image alone: its time, and remarks that
    /// other builders leave about the build itself.
    #[must_use]
    pub fn into_base(mut self) -> Self {
        self.created = None;
        self.other.retain(|name, _| !BUILD_REMARKS.contains(&name.as_str()) && !name.starts_with("moby.buildkit."));
        self.config.other.retain(|name, _| !CONTAINER_REMARKS.contains(&name.as_str()));
        self
    }

    /// The platform that the configuration names; empty fields stay empty.
    pub fn platform(&self) -> Platform {
        let variant = self.variant.as_deref().unwrap_or_default();
        Platform::from_parts(&self.os, &self.architecture, variant)
    }

    /// Names `platform` as the image's own.
    pub fn set_platform(&mut self, platform: &Platform) {
        self.os = platform.os().to_owned();
        self.architecture = platform.architecture().to_owned();
        self.variant = platform.variant().map(str::to_owned);
    }
}

/// Fields at the top that speak of how Docker came to an image.
const BUILD_REMARKS: [&str; 6] = ["id", "parent", "container", "container_config", "docker_version", "Size"];

/// Fields of `config` that speak of a container and not of the image.
const CONTAINER_REMARKS: [&str; 10] = [
    "Hostname",
    "Domainname",
    "Image",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "MacAddress",
];

impl ProcessConfig {
    /// The value of the environment variable `name`.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    }

    /// Sets the environment variable `name`, in its old place if it has one.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let is_same = |old: &String| old.split_once('=').map_or(old.as_str(), |(key, _)| key) == name;
        match self.env.iter_mut().find(|old| is_same(old)) {
            Some(old) => *old = entry,
            None => self.env.push(entry),
        }
    }
}

impl RootFs {
    /// The root file system of an image that is one squashfs file with the digest `file`.
    pub fn squashfs(file: Digest) -> Self {
        Self { kind: layers(), diff_ids: vec![format!("blake3:{file}")] }
    }
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new() }
    }
}

fn layers() -> String {
    "layers".to_owned()
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Go writes an empty slice, map or pointer as `null`.
fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Go's `map[string]struct{}`: `{"80/tcp": {}}`.
fn keys_of_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let map = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(deserializer)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn object_of_keys<S: Serializer>(keys: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(keys.len()))?;
    for key in keys {
        map.serialize_entry(key, &serde_json::Map::new())?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = r#"{"architecture":"arm64","variant":"v8","os":"linux","created":"2024-01-02T03:04:05.6Z",
        "container":"abc","docker_version":"20.10","moby.buildkit.buildinfo.v1":"x","x-vendor":{"b":1,"a":[null]},
        "config":{"Hostname":"h","User":"nobody","Env":["PATH=/bin","A=b=c"],"Cmd":null,"Entrypoint":["/a"],
          "ExposedPorts":{"81/udp":{},"80/tcp":{}},"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"z":"1","a":"2"},
          "StopSignal":"SIGQUIT","ArgsEscaped":true,"OnBuild":["RUN x"],"Shell":["/bin/ash","-c"],
          "Healthcheck":{"Test":["CMD","true"],"Interval":30000000000,"Retries":3},"NetworkDisabled":false},
        "rootfs":{"type":"layers","diff_ids":["sha256:00"]},
        "history":[{"created_by":"COPY . .","empty_layer":true},{"comment":"c"}]}"#;

    #[test]
    fn extensions_of_docker_and_unknown_fields_survive() -> Result<(), InvalidConfig> {
        let config = ImageConfig::from_slice(DOCKER.as_bytes())?;
        let process = &config.config;
        assert_eq!((process.env("A"), process.env("B")), (Some("b=c"), None));
        assert_eq!(process.on_build, ["RUN x"]);
        assert_eq!(process.shell, ["/bin/ash", "-c"]);
        assert_eq!(
            process.healthcheck.as_ref().map(|check| (check.interval, check.retries)),
            Some((30_000_000_000, 3))
        );
        assert!(process.args_escaped && process.cmd.is_empty());
        assert_eq!(process.exposed_ports.iter().collect::<Vec<_>>(), ["80/tcp", "81/udp"]);
        let again: Value = serde_json::from_slice(&config.to_bytes()).unwrap();
        let mut before: Value = serde_json::from_str(DOCKER).unwrap();
        before["config"].as_object_mut().unwrap().remove("Cmd");
        assert_eq!(again, before);
        Ok(())
    }

    #[test]
    fn bytes_and_id_depend_on_the_value_alone() -> Result<(), InvalidConfig> {
        let config = ImageConfig::from_slice(DOCKER.as_bytes())?;
        let again = ImageConfig::from_slice(&config.to_bytes())?;
        assert_eq!(again.to_bytes(), config.to_bytes());
        assert_eq!(again.id(), Sha256Digest::of(&config.to_bytes()));
        Ok(())
    }

    #[test]
    fn child_inherits_no_remarks_about_the_base_image_alone() -> Result<(), InvalidConfig> {
        let config = ImageConfig::from_slice(DOCKER.as_bytes())?.into_base();
        assert_eq!(config.created, None);
        assert_eq!(config.other.keys().collect::<Vec<_>>(), ["x-vendor"]);
        assert_eq!(config.config.other.keys().collect::<Vec<_>>(), ["NetworkDisabled"]);
        assert_eq!(config.config.user, "nobody");
        Ok(())
    }

    #[test]
    fn nulls_and_absent_fields_are_empty() -> Result<(), InvalidConfig> {
        for text in [
            "{}",
            r#"{"config":null,"rootfs":null,"history":null}"#,
            r#"{"config":{"Env":null,"Labels":null,
            "Volumes":null,"ExposedPorts":null,"User":null,"Healthcheck":null,"OnBuild":null,"StopSignal":null}}"#,
        ] {
            assert_eq!(ImageConfig::from_slice(text.as_bytes())?, ImageConfig::default(), "{text}");
        }
        Ok(())
    }

    #[test]
    fn wrong_types_are_errors() {
        for text in ["", "[]", "null", r#"{"config":{"Env":"A=b"}}"#, r#"{"config":{"Volumes":["/v"]}}"#, r#"{"os":1}"#]
        {
            assert!(ImageConfig::from_slice(text.as_bytes()).is_err(), "{text}");
        }
        assert!(ImageConfig::from_slice("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn set_env_keeps_the_place() {
        let mut config = ProcessConfig { env: vec!["A=1".into(), "B=2".into(), "AB=3".into()], ..Default::default() };
        config.set_env("A", "x=y");
        config.set_env("C", "");
        assert_eq!(config.env, ["A=x=y", "B=2", "AB=3", "C="]);
    }
}
