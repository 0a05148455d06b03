//! What a kernel was configured with, as far as that is told: without the one option or the other it boots all the same,
//! and then a step fails.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use super::{KernelError, modules::Tree};

/// What has to be built in.
const BUILT_IN: [&str; 14] = [
    "CONFIG_ACPI",
    "CONFIG_BLK_DEV_INITRD",
    "CONFIG_BINFMT_ELF",
    "CONFIG_DEVTMPFS",
    "CONFIG_TMPFS",
    "CONFIG_PROC_FS",
    "CONFIG_SYSFS",
    "CONFIG_SQUASHFS_ZSTD",
    "CONFIG_SQUASHFS_XATTR",
    "CONFIG_CGROUPS",
    "CONFIG_CGROUP_PIDS",
    "CONFIG_PID_NS",
    "CONFIG_NET_NS",
    "CONFIG_SECCOMP_FILTER",
];

/// What may be a module as well, and what that is called.
pub(super) const TRISTATE: [(&str, &str); 6] = [
    ("virtio_mmio", "CONFIG_VIRTIO_MMIO"),
    ("virtio_blk", "CONFIG_VIRTIO_BLK"),
    ("virtio_console", "CONFIG_VIRTIO_CONSOLE"),
    ("squashfs", "CONFIG_SQUASHFS"),
    ("overlay", "CONFIG_OVERLAY_FS"),
    ("ext4", "CONFIG_EXT4_FS"),
];

/// The longest configuration that is believed; Debian's have some 270 KB.
pub(super) const MAX_LENGTH: u64 = 4 << 20;

/// Checks that a kernel with this configuration and these modules, as far as both are known, is fit to be a guest.
pub(super) fn check(version: &str, configuration: Option<&str>, tree: Option<&Tree>) -> Result<(), KernelError> {
    let options =
        configuration.map(|text| -> BTreeMap<_, _> { text.lines().filter_map(|l| l.split_once('=')).collect() });
    // An empty one is that of another file by the same name.
    let options = options.filter(|options| !options.is_empty());
    let mut lacks = Vec::new();
    let mut modules = Vec::new();
    if let Some(options) = &options {
        lacks.extend(BUILT_IN.into_iter().filter(|option| options.get(option) != Some(&"y")));
    }
    for (module, option) in TRISTATE {
        match (options.as_ref().map(|options| options.get(option).copied()), tree) {
            (Some(Some("y")), _) | (None, None) => {}
            (Some(Some("m")), None) => modules.push(module),
            (Some(Some("m")) | None, Some(tree)) if tree.has(module) => {}
            _ => lacks.push(option),
        }
    }
    if !lacks.is_empty() {
        return Err(KernelError::Lacks { version: version.to_owned(), options: lacks });
    }
    match modules.is_empty() {
        true => Ok(()),
        false => Err(KernelError::NoModules { version: version.to_owned(), modules }),
    }
}

/// The configuration in the file at `path`, if it can be read: it is there for people, and a kernel boots without.
pub(super) fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()))?;
    file.take(MAX_LENGTH).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The configuration that a kernel has in itself (CONFIG_IKCONFIG).
pub(super) fn embedded(vmlinux: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"IKCFG_ST\x1f\x8b";
    let packed = &vmlinux[memchr::memmem::find(vmlinux, MARK)? + MARK.len() - 2..];
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).take(MAX_LENGTH).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn configuration(tristate: &str) -> String {
        let options = BUILT_IN.into_iter().map(|option| format!("{option}=y\n"));
        options.chain(TRISTATE.map(|(_, option)| format!("{option}={tristate}\n"))).collect()
    }

    #[test]
    fn every_option_that_is_missing_is_named() {
        let good = configuration("y");
        check("6.1.0", Some(&good), None).unwrap();
        check("6.1.0", None, None).unwrap();
        let bad = good.replace("CONFIG_SQUASHFS_ZSTD=y", "# CONFIG_SQUASHFS_ZSTD is not set");
        let bad = bad.replace("CONFIG_TMPFS=y\n", "").replace("CONFIG_VIRTIO_CONSOLE=y", "CONFIG_VIRTIO_CONSOLE=n");
        let error = check("6.1.0", Some(&bad), None).unwrap_err().to_string();
        let expected =
            "Linux 6.1.0 cannot be a guest: it lacks CONFIG_TMPFS, CONFIG_SQUASHFS_ZSTD, CONFIG_VIRTIO_CONSOLE";
        assert_eq!(error, expected);
    }

    #[test]
    fn modules_that_are_nowhere_are_named() {
        let error = check("6.1.0", Some(&configuration("m")), None).unwrap_err().to_string();
        assert!(error.starts_with("Linux 6.1.0 has virtio_mmio, virtio_blk,"), "{error}");
        assert!(error.contains("--kernel-modules"), "{error}");
    }

    #[test]
    fn the_configuration_in_a_kernel_is_found() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"CONFIG_ACPI=y\n").unwrap();
        let kernel = [&b"..IKCFG_ST.. IKCFG_ST"[..], &packed.finish().unwrap(), b"IKCFG_ED"].concat();
        assert_eq!(embedded(&kernel).as_deref(), Some("CONFIG_ACPI=y\n"));
        assert_eq!(embedded(b"IKCFG_ST\x1f\x8b damaged"), None);
    }
}
