//! `/etc/hosts` and `/etc/resolv.conf` as a step sees them.

use std::{fs::File, io::Read};

use crate::executor::Network;

/// More than any such file needs.
const MAX_LENGTH: u64 = 256 * 1024;

/// `/etc/hosts`: the loopback names, and with the host's network the host's own entries.
pub(crate) fn hosts(network: Network, host_name: &str) -> Vec<u8> {
    let mut hosts = format!(
        "127.0.0.1\tlocalhost {host_name}\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n"
    )
    .into_bytes();
    if network == Network::Host {
        hosts.extend(read("/etc/hosts"));
    }
    hosts
}

/// `/etc/resolv.conf`: the host's with its network, and one that names no server without.
pub(crate) fn resolv_conf(network: Network) -> Vec<u8> {
    if network == Network::Host { read("/etc/resolv.conf") } else { b"# This step has no network.\n".to_vec() }
}

/// A host that lacks the file has nothing to say.
fn read(path: &str) -> Vec<u8> {
    let mut content = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_LENGTH).read_to_end(&mut content)) {
        Ok(_) => content,
        Err(error) => {
            tracing::warn!("cannot read {path}: {error}");
            Vec::new()
        }
    }
}
