//! Which hierarchies of control groups a machine has, and where in them hypr may make groups.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    /// `memory`.
    Memory,
    /// `pids`.
    Pids,
    /// `cpu`: limits of processor time.
    Cpu,
    /// What tells how much processor time was used: `cpuacct` in version 1, every group in version 2.
    CpuAccounting,
}

/// A version of the kernel's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// A hierarchy in which groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    /// The group below which steps have theirs.
    pub(crate) parent: PathBuf,
    pub(crate) controllers: Vec<Controller>,
}

/// All hierarchies of use.
#[derive(Debug, Default)]
pub(crate) struct Hierarchies {
    all: Vec<Hierarchy>,
}

impl Hierarchies {
    /// Looks at what is mounted, and removes what killed processes left behind.
    pub(crate) fn discover() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let found = Self { all: parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), &usable_parent) };
        for hierarchy in &found.all {
            super::sweep(&hierarchy.parent);
        }
        found
    }

    pub(crate) fn all(&self) -> &[Hierarchy] {
        &self.all
    }

    /// Why a controller may be missing, and the way out.
    pub(crate) fn reason(&self) -> String {
        if rustix::process::geteuid().is_root() {
            "no control group with that controller can be made below hypr's own; see /proc/self/cgroup".to_owned()
        } else {
            "no control group is delegated to this user; run hypr under `systemd-run --user --scope -p Delegate=yes`"
                .to_owned()
        }
    }
}

/// One mount of control groups.
struct Mount<'a> {
    /// The group that is mounted.
    root: &'a str,
    place: PathBuf,
    version: Version,
    /// What version 1 has mounted together, with commas.
    options: &'a str,
}

/// Finds where groups of version 2 can be made, given the place of the mount and hypr's own group in it.
type FindParent = dyn Fn(&Path, &Path) -> Option<(PathBuf, Vec<Controller>)>;

fn parse(mountinfo: &str, own: &str, usable_parent: &FindParent) -> Vec<Hierarchy> {
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for mount in mountinfo.lines().filter_map(parse_mount) {
        let taken = |controller: &Controller| hierarchies.iter().any(|known| known.controllers.contains(controller));
        let Some(group) = own.lines().find_map(|line| own_group(line, &mount)) else { continue };
        let group = group.strip_prefix(mount.root).unwrap_or(group).trim_start_matches('/');
        let hierarchy = match mount.version {
            Version::V1 => {
                let controllers = mount.options.split(',').filter_map(|name| match name {
                    "memory" => Some(Controller::Memory),
                    "pids" => Some(Controller::Pids),
                    "cpu" => Some(Controller::Cpu),
                    "cpuacct" => Some(Controller::CpuAccounting),
                    _ => None,
                });
                let controllers = controllers.filter(|controller| !taken(controller)).collect();
                Hierarchy { version: Version::V1, parent: mount.place.join(group), controllers }
            }
            Version::V2 => {
                let Some((parent, controllers)) = usable_parent(&mount.place, &mount.place.join(group)) else {
                    continue;
                };
                let controllers = controllers.into_iter().filter(|controller| !taken(controller)).collect();
                Hierarchy { version: Version::V2, parent, controllers }
            }
        };
        if !hierarchy.controllers.is_empty() {
            hierarchies.push(hierarchy);
        }
    }
    hierarchies
}

/// A line of `/proc/self/mountinfo`, if it is of control groups.
fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, place) = (fields.next()?, fields.next()?);
    let mut fields = after.split(' ');
    let version = match fields.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    // A space in a path is written as \040.
    Some(Mount { root, place: place.replace("\\040", " ").into(), version, options: fields.nth(1)? })
}

/// The group in a line of `/proc/self/cgroup`, if the line is about `mount`.
fn own_group<'a>(line: &'a str, mount: &Mount<'_>) -> Option<&'a str> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
    let matches = match mount.version {
        Version::V2 => controllers.is_empty(),
        Version::V1 => {
            !controllers.is_empty()
                && controllers.split(',').all(|controller| mount.options.split(',').any(|option| option == controller))
        }
    };
    matches.then_some(group)
}

/// The nearest group of version 2, from hypr's own upwards, whose children have controllers, and which. A group that
/// holds processes has none to give, so that the steps' groups usually stand beside hypr's own.
fn usable_parent(mount: &Path, own: &Path) -> Option<(PathBuf, Vec<Controller>)> {
    let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    let mut accounting = None;
    for group in own.ancestors().take_while(|group| group.starts_with(mount)) {
        if !writable(group) || !writable(&group.join("cgroup.procs")) {
            continue;
        }
        let file = group.join("cgroup.subtree_control");
        let given = || fs::read_to_string(&file).unwrap_or_default();
        for name in
            ["memory", "pids", "cpu"].iter().filter(|name| !given().split_whitespace().any(|have| have == **name))
        {
            // Refused where the group has processes or the controller is not here.
            let _ = fs::write(&file, format!("+{name}"));
        }
        let mut controllers: Vec<_> = given()
            .split_whitespace()
            .filter_map(|name| match name {
                "memory" => Some(Controller::Memory),
                "pids" => Some(Controller::Pids),
                "cpu" => Some(Controller::Cpu),
                _ => None,
            })
            .collect();
        controllers.push(Controller::CpuAccounting);
        if controllers.len() > 1 {
            return Some((group.to_owned(), controllers));
        }
        accounting.get_or_insert((group.to_owned(), controllers));
    }
    accounting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_is_taken_where_it_is_mounted() {
        let mountinfo = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/ab /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let own = "4:memory:/docker/ab/c\n1:cpu,cpuacct:/\n0::/user.slice";
        let unified = |_: &Path, own: &Path| Some((own.to_owned(), vec![Controller::Pids, Controller::CpuAccounting]));
        let v1 = |parent: &str, controllers| Hierarchy { version: Version::V1, parent: parent.into(), controllers };
        let pids = Hierarchy {
            version: Version::V2,
            parent: "/sys/fs/cgroup/unified/user.slice".into(),
            controllers: vec![Controller::Pids],
        };
        assert_eq!(
            parse(mountinfo, own, &unified),
            [
                v1("/sys/fs/cgroup/cpu,cpuacct/", vec![Controller::Cpu, Controller::CpuAccounting]),
                v1("/sys/fs/cgroup/memory/c", vec![Controller::Memory]),
                pids
            ]
        );
    }

    #[test]
    fn without_control_groups_there_is_none() {
        let none = |_: &Path, _: &Path| None;
        assert_eq!(parse("22 27 0:21 / /proc rw - proc proc rw", "0::/", &none), []);
    }
}
