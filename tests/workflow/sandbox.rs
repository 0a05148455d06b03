//! What a `RUN` cannot do, and what of the host it cannot see.

use hypr_tests::World;

/// Runs each command and returns what it printed, or `refused` where it failed.
#[track_caller]
fn outcomes(commands: &[(&str, &str)]) -> Vec<(String, String)> {
    let world = World::with_busybox();
    let script: String = commands
        .iter()
        .enumerate()
        .map(|(n, (_, command))| format!("({command}) >/out/{n} 2>/dev/null || echo refused >>/out/{n}\n"))
        .collect();
    let project = world.project(&format!("FROM busybox\nRUN mkdir /out\nRUN <<'EOF'\n{script}EOF\n"));
    world.build(&project, ["-t", "a"]).env("HYPR_TEST_SECRET", "of-the-host").ok();
    let image = world.image("a");
    let texts = (0..commands.len()).map(|n| image.text_of(&format!("/out/{n}")).trim().to_owned());
    commands.iter().map(|(command, _)| (*command).to_owned()).zip(texts).collect()
}

#[test]
fn the_kernel_and_its_devices_are_out_of_reach() {
    let commands = [
        ("mount a file system", "mount -t tmpfs none /mnt"),
        ("mount over", "mount -o bind /bin /opt"),
        ("remount", "mount -o remount,rw /proc/sys"),
        ("unmount a mask", "umount /proc/acpi"),
        ("make a user namespace", "unshare -U true"),
        ("make a mount namespace", "unshare -m true"),
        ("open a disk", "mknod /dev/disk b 7 0 && head -c 1 /dev/disk; test -s /dev/null"),
        ("open memory", "mknod /tmp/memory c 1 1 && head -c 1 /tmp/memory"),
        ("set the host name", "hostname other"),
        ("change a setting", "echo 1 >/proc/sys/kernel/panic"),
        ("trigger a reboot", "echo b >/proc/sysrq-trigger"),
        ("write to the system's files", "echo x >/sys/kernel/mm/ksm/run"),
        ("read kernel memory", "head -c 1 /proc/kcore | grep -q ."),
        ("read the kernel's log", "dmesg"),
        ("load a module", "insmod /bin/busybox"),
        ("end the first process", "kill -9 1; test ! -d /proc/1"),
        ("reach another network", "ping -c 1 -w 1 192.0.2.1 >/dev/null"),
    ];
    for (what, outcome) in outcomes(&commands) {
        assert_eq!(outcome, "refused", "{what}");
    }
}

#[test]
fn nothing_of_the_host_shows() {
    let found = outcomes(&[
        ("environment", "env | grep -c of-the-host; true"),
        ("processes", "ls /proc | grep -c '^[0-9]'"),
        ("addresses", "ip -o -4 addr | grep -v 127.0.0.1 | wc -l"),
        ("loopback", "ping -c 1 -w 2 127.0.0.1 >/dev/null && echo up"),
        ("block devices", "find /dev -type b | wc -l"),
        ("host name", "hostname"),
        ("open files", "ls /proc/self/fd | wc -l"),
        ("privileges", "grep NoNewPrivs /proc/self/status | grep -o '[01]'"),
    ]);
    let get = |name: &str| &found.iter().find(|(what, _)| what == name).expect("was asked for").1;
    assert_eq!(get("environment"), "0");
    assert!(get("processes").parse::<u32>().is_ok_and(|count| count < 8), "{}", get("processes"));
    assert_eq!((get("addresses").as_str(), get("loopback").as_str()), ("0", "up"));
    assert_eq!(get("block devices"), "0");
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("/proc is mounted");
    assert_ne!(get("host name"), own.trim());
    // Input, output, errors, and the folder that is being listed.
    assert_eq!(get("open files"), "4");
    assert_eq!(get("privileges"), "0", "set-user-id programs work, as in a Docker build");
}

#[test]
fn steps_do_not_see_each_other() {
    let world = World::with_busybox();
    let project = world.project(
        "FROM busybox AS one\nRUN touch /tmp/one /dev/shm/one; sleep 1; ps >/one\n\
         FROM busybox AS two\nRUN sleep 0.5; ls /tmp /dev/shm >/two; ps >>/two\n\
         FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n",
    );
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    assert!(!image.text_of("/two").contains("one"), "{}", image.text_of("/two"));
    assert!(!image.text_of("/one").contains("/two"), "{}", image.text_of("/one"));
}

#[test]
fn links_of_the_image_do_not_move_the_sandbox_s_own_files() {
    let world = World::with_busybox();
    for target in ["/dev/null", "/dev/fd/2", "/dev/shm/hosts", "/proc/1/root/tmp/hosts", "/proc/keys"] {
        let project = world
            .project(
                "FROM busybox\nCOPY etc /etc\n\
                 RUN test -c /dev/null && echo x >/dev/null && test -z \"$(cat)\" && ! test -s /proc/keys\n",
            )
            .file("etc/kept", "")
            .link("etc/resolv.conf", target)
            .link("etc/hosts", target);
        world.build(&project, [""; 0]).ok();
    }
}
