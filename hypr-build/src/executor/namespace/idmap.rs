//! Which ids a user namespace of an unprivileged user has: the user's own as 0, and those lent to them from 1 up.
//!
//! Ids are lent by `/etc/subuid` and `/etc/subgid`, and only the set-uid programs `newuidmap` and `newgidmap` may map
//! them. Without either, the namespace has the one id 0, which is enough for images in which root owns everything.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The kernel takes 340 lines; nobody is lent that many ranges, and each takes three arguments.
const MAX_RANGES: usize = 64;

/// Ids of the host, lent to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u32,
    count: u32,
}

/// Why ids could not be mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IdMapError {
    /// A mapping program could not be started.
    #[error("cannot run {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A mapping program refused.
    #[error("{} failed: {said}; check that it is set-uid root and that {file} lends this user ids", program.display())]
    Refused {
        /// The program.
        program: PathBuf,
        /// The file that it goes by.
        file: &'static str,
        /// Its first line on standard error.
        said: String,
    },
    /// The kernel did not take a map.
    #[error("cannot write {}", path.display())]
    Write {
        /// The map's file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// The maps of the user namespaces that this process's user can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMaps {
    uid: u32,
    gid: u32,
    lent: Option<Lent>,
}

/// Ids beyond the user's own, and the programs that map them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lent {
    uids: Vec<Range>,
    gids: Vec<Range>,
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

impl IdMaps {
    /// Finds out what this process's user is lent.
    pub(crate) fn of_this_user() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let name = user_name(&read("/etc/passwd"), uid);
        let uids = ranges(&read(SUBUID), name.as_deref(), uid);
        let gids = ranges(&read(SUBGID), name.as_deref(), uid);
        let path = env::var_os("PATH").unwrap_or_default();
        let lent = match (find_program("newuidmap", &path), find_program("newgidmap", &path)) {
            (Some(newuidmap), Some(newgidmap)) if !uids.is_empty() && !gids.is_empty() => {
                Some(Lent { uids, gids, newuidmap, newgidmap })
            }
            _ => None,
        };
        Self { uid, gid, lent }
    }

    /// The first of these ids that the namespaces do not have, as `user 5` or `group 5`.
    pub(crate) fn first_missing(&self, uid: u32, gid: u32, groups: &[u32]) -> Option<String> {
        // Own ids are 0, lent ones follow.
        let ids = |ranges: &[Range]| 1 + ranges.iter().map(|range| u64::from(range.count)).sum::<u64>();
        let (uids, gids) = self.lent.as_ref().map_or((1, 1), |lent| (ids(&lent.uids), ids(&lent.gids)));
        if u64::from(uid) >= uids {
            return Some(format!("user {uid}"));
        }
        // Nobody may choose groups in a namespace of one id.
        let missing = |group: &u32| u64::from(*group) >= gids || (self.lent.is_none() && *group != gid);
        let group = Some(gid).filter(|gid| u64::from(*gid) >= gids).or(groups.iter().copied().find(missing));
        group.map(|group| format!("group {group}"))
    }

    /// How to get more ids than the one.
    pub(crate) const MORE: &str = "install newuidmap and newgidmap (Debian package `uidmap`) and lend the user at \
                                   least 65536 ids in /etc/subuid and /etc/subgid (`usermod --add-subuids \
                                   100000-165535 --add-subgids 100000-165535 USER`)";

    /// Gives the user namespace of the process `pid` its ids. The process must be a child of this one that has not been
    /// waited for, so that its number cannot have passed to another.
    ///
    /// # Errors
    /// Fails when a program is missing or refuses, and when the kernel does.
    pub(crate) fn write(&self, pid: u32) -> Result<(), IdMapError> {
        let file = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let Some(lent) = &self.lent else {
            // A user who maps no more than their own group must first give up to drop groups.
            write_file(file("setgroups"), "deny")?;
            write_file(file("uid_map"), &format!("0 {} 1", self.uid))?;
            return write_file(file("gid_map"), &format!("0 {} 1", self.gid));
        };
        run(&lent.newuidmap, SUBUID, &arguments(pid, self.uid, &lent.uids))?;
        run(&lent.newgidmap, SUBGID, &arguments(pid, self.gid, &lent.gids))
    }
}

const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";

/// Why the kernel lets this user have no user namespaces, and the way out; `None` if nothing is known against it.
pub(crate) fn forbidden() -> Option<String> {
    let supported = Path::new("/proc/self/ns/user").exists();
    forbidden_by(setting("user/max_user_namespaces"), setting("kernel/unprivileged_userns_clone"), supported)
}

/// Why a user namespace may give no rights, and the way out. Whether it does depends on the program.
pub(crate) fn restricted() -> Option<String> {
    forbidden().or_else(|| restricted_by(setting("kernel/apparmor_restrict_unprivileged_userns")))
}

fn setting(name: &str) -> Option<i64> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}

fn forbidden_by(max: Option<i64>, clone: Option<i64>, supported: bool) -> Option<String> {
    let reason = match (max, clone) {
        _ if !supported => "the kernel has no user namespaces (CONFIG_USER_NS)",
        (Some(0), _) => "user namespaces are switched off; let root set the sysctl user.max_user_namespaces above 0",
        (_, Some(0)) => {
            "user namespaces are for root only; let root set the sysctl kernel.unprivileged_userns_clone to 1"
        }
        _ => return None,
    };
    Some(format!("{reason}, or run hypr as root"))
}

fn restricted_by(apparmor: Option<i64>) -> Option<String> {
    let reason = "AppArmor takes the rights out of user namespaces; let root set the sysctl \
                  kernel.apparmor_restrict_unprivileged_userns to 0 or give hypr a profile with `userns`, or run hypr as \
                  root";
    (apparmor == Some(1)).then(|| reason.to_owned())
}

/// The name of the user `uid` by the text of `/etc/passwd`.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The ranges that the text of `/etc/subuid` or `/etc/subgid` lends to a user, by name or number, as `newuidmap` reads
/// it. Both files go by the user.
fn ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let lent = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (owner, start, count) = (fields.next()?, fields.next()?, fields.next()?);
        if Some(owner) != name && owner.parse() != Ok(uid) {
            return None;
        }
        let range = Range { start: start.parse().ok()?, count: count.trim_end().parse().ok()? };
        // The highest id stands for "none".
        let fits = range.start.checked_add(range.count).is_some_and(|end| end < u32::MAX);
        (range.count > 0 && fits && fields.next().is_none()).then_some(range)
    });
    lent.take(MAX_RANGES).collect()
}

/// The arguments of `newuidmap`: the process, then inside, outside and count of each range.
fn arguments(pid: u32, own: u32, lent: &[Range]) -> Vec<String> {
    let mut arguments = vec![pid.to_string()];
    let mut inside = 0u32;
    for Range { start, count } in [Range { start: own, count: 1 }].iter().chain(lent) {
        let room = (u32::MAX - 1) - inside;
        let count = *count.min(&room);
        if count > 0 {
            arguments.extend([inside, *start, count].map(|number| number.to_string()));
            inside += count;
        }
    }
    arguments
}

fn run(program: &Path, file: &'static str, arguments: &[String]) -> Result<(), IdMapError> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|source| IdMapError::Start { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().map_or_else(|| output.status.to_string(), str::to_owned);
    Err(IdMapError::Refused { program: program.to_owned(), file, said })
}

fn write_file(path: PathBuf, text: &str) -> Result<(), IdMapError> {
    fs::write(&path, text).map_err(|source| IdMapError::Write { path, source })
}

/// Finds an executable file as a shell does, and in the usual places for a user whose PATH lacks them.
fn find_program(name: &str, path: &OsString) -> Option<PathBuf> {
    let usual = ["/usr/bin", "/usr/local/bin", "/bin"].map(PathBuf::from);
    env::split_paths(path).filter(|directory| directory.is_absolute()).chain(usual).find_map(|directory| {
        let program = directory.join(name);
        let metadata = fs::metadata(&program).ok()?;
        (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some(program)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lent_by_name_or_number() {
        let file = "root:1:5\nanna:100000:65536\n# note\n1000:300000:10\nanna:5:0\nanna:x:1\nanna:7:1:8\n\
                    anna:4294967290:10\nannab:1:1\nanna:400000:1\n";
        let range = |start, count| Range { start, count };
        let expected = [range(100_000, 65_536), range(300_000, 10), range(400_000, 1)];
        assert_eq!(ranges(file, Some("anna"), 1000), expected);
        assert_eq!(ranges(file, None, 1000), expected[1..2]);
        assert_eq!(ranges(file, Some("otto"), 1001), []);
    }

    #[test]
    fn names_are_those_of_the_password_file() {
        let file = "root:x:0:0:root:/root:/bin/sh\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(user_name(file, 1000).as_deref(), Some("anna"));
        assert_eq!(user_name(file, 0).as_deref(), Some("root"));
        assert_eq!(user_name(file, 7), None);
    }

    #[test]
    fn the_users_own_id_becomes_root_and_lent_ones_follow() {
        let lent = [Range { start: 100_000, count: 1000 }, Range { start: 300_000, count: 10 }];
        let expected = ["42", "0", "1000", "1", "1", "100000", "1000", "1001", "300000", "10"];
        assert_eq!(arguments(42, 1000, &lent), expected);
        assert_eq!(arguments(42, 1000, &[]), expected[..4]);
        let all = [Range { start: 5, count: u32::MAX - 10 }; 2];
        assert_eq!(arguments(1, 0, &all)[7..], ["4294967286", "5", "8"]);
    }

    #[test]
    fn what_forbids_user_namespaces_is_named_with_the_way_out() {
        for (reason, named) in [
            (forbidden_by(Some(0), None, true), "user.max_user_namespaces"),
            (forbidden_by(Some(9), Some(0), true), "kernel.unprivileged_userns_clone"),
            (forbidden_by(None, None, false), "CONFIG_USER_NS"),
            (restricted_by(Some(1)), "kernel.apparmor_restrict_unprivileged_userns"),
        ] {
            let reason = reason.unwrap();
            assert!(reason.contains(named) && reason.contains("run hypr as root"), "{reason}");
        }
        assert_eq!(forbidden_by(Some(1000), Some(1), true), None);
        assert_eq!(forbidden_by(None, None, true), None);
        assert_eq!(restricted_by(Some(0)), None);
    }

    #[test]
    fn ids_that_are_not_mapped_are_named() {
        let lent = Lent {
            uids: vec![Range { start: 100_000, count: 10 }],
            gids: vec![Range { start: 100_000, count: 5 }, Range { start: 200_000, count: 5 }],
            newuidmap: PathBuf::new(),
            newgidmap: PathBuf::new(),
        };
        let maps = IdMaps { uid: 1000, gid: 1000, lent: Some(lent) };
        assert_eq!(maps.first_missing(10, 10, &[0, 10]), None);
        assert_eq!(maps.first_missing(11, 0, &[]).as_deref(), Some("user 11"));
        assert_eq!(maps.first_missing(0, 0, &[10, 11]).as_deref(), Some("group 11"));
        let single = IdMaps { lent: None, ..maps };
        assert_eq!(single.first_missing(0, 0, &[]), None);
        assert_eq!(single.first_missing(0, 1, &[]).as_deref(), Some("group 1"));
        assert_eq!(single.first_missing(0, 0, &[0]), None);
    }

    #[test]
    fn a_mapping_program_that_refuses_is_quoted() {
        let arguments = ["-c", "echo newuidmap: no range >&2; exit 1"].map(str::to_owned);
        let error = run(Path::new("/bin/sh"), SUBUID, &arguments).unwrap_err();
        insta::assert_snapshot!(error, @"/bin/sh failed: newuidmap: no range; check that it is set-uid root and that /etc/subuid lends this user ids");
        let error = run(Path::new("/nowhere/newuidmap"), SUBUID, &[]).unwrap_err();
        insta::assert_snapshot!(error, @"cannot run /nowhere/newuidmap");
    }

    #[test]
    fn programs_are_found_in_the_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("newuidmap"), "").unwrap();
        let path = env::join_paths([Path::new("relative"), dir.path()]).unwrap();
        assert_ne!(find_program("newuidmap", &path), Some(dir.path().join("newuidmap")), "not executable");
        fs::set_permissions(dir.path().join("newuidmap"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program("newuidmap", &path), Some(dir.path().join("newuidmap")));
        assert_eq!(find_program("no-such-program", &path), None);
    }
}
