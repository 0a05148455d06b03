//! What a process can see of the machine, and what it cannot.

use hypr_build::executor::Executor;

use crate::{
    layers::Workshop,
    programs,
    run::{Recording, Step},
};

async fn shell(executor: &dyn Executor, workshop: &Workshop, script: &str) -> Recording {
    Step::shell(&workshop.busybox(), script).succeed(executor).await
}

pub(crate) async fn there_is_no_network_but_loopback(executor: &dyn Executor, workshop: &Workshop) {
    let script = "ls /sys/class/net; cat /sys/class/net/lo/flags; ping -c 1 -W 2 127.0.0.1 >/dev/null && echo up; \
                  ip route | wc -l";
    // Flags: UP and LOOPBACK.
    assert_eq!(shell(executor, workshop, script).await.text(), "lo\n0x9\nup\n0\n");
}

pub(crate) async fn proc_and_sys_are_masked(executor: &dyn Executor, workshop: &Workshop) {
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do \
                    if [ -e $f ]; then wc -c <$f; fi; done | sort -u; \
                  for d in /sys/firmware /proc/acpi /proc/scsi; do ls $d 2>/dev/null | wc -l; done | sort -u; \
                  for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity \
                    /sys/kernel/mm/ksm/run /sys/x; do \
                    if echo 1 2>/dev/null >$f; then echo wrote $f; fi; done; true";
    assert_eq!(shell(executor, workshop, script).await.text(), "0\n0\n");
}

pub(crate) async fn devices_are_those_of_a_container(executor: &dyn Executor, workshop: &Workshop) {
    let script = "cd /dev; ls | tr '\\n' ' '; echo; head -c 3 zero | wc -c; head -c 3 urandom | wc -c; \
                  echo x 2>&1 >full; stat -c %a null shm; : >shm/file && echo written; ls /dev/pts /dev/mqueue";
    let recording = shell(executor, workshop, script).await;
    assert_eq!(
        recording.text(),
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \n3\n3\n\
         sh: write error: No space left on device\n666\n1777\nwritten\n/dev/mqueue:\n\n/dev/pts:\nptmx\n"
    );
}

pub(crate) async fn nodes_that_a_process_makes_open_no_device(executor: &dyn Executor, workshop: &Workshop) {
    // Where the process may make none there is none to open.
    let script = "for d in / /dev /dev/shm /tmp; do \
                    if mknod $d/node c 1 3 2>/dev/null && echo x 2>/dev/null >$d/node; then echo $d; fi; done";
    assert_eq!(shell(executor, workshop, script).await.text(), "");
}

pub(crate) async fn the_init_is_out_of_reach(executor: &dyn Executor, workshop: &Workshop) {
    let script = "kill -9 1; sleep 0.1; \
                  for fd in /proc/1/fd/*; do readlink $fd; cat $fd; echo x >$fd; done 2>/dev/null; \
                  cat /proc/1/environ 2>/dev/null; readlink /proc/1/exe /proc/1/cwd /proc/1/root; \
                  dd if=/proc/1/mem bs=1 count=1 2>/dev/null; \
                  grep -h '^Cap' /proc/1/status | grep -v 0000000000000000; \
                  ls /proc/self/fd | tr '\\n' ' '; ls -d /proc/[0-9]* | wc -l";
    // Descriptor 3 is the directory that `ls` reads; the processes are the init, the shell, `ls` and `wc`.
    assert_eq!(shell(executor, workshop, script).await.text(), "0 1 2 3 4\n");
}

pub(crate) async fn nothing_of_the_sandboxs_own_is_within_reach(executor: &dyn Executor, workshop: &Workshop) {
    let system = workshop.busybox_and(|layer| {
        layer.file("bin/reach", 0o755, &programs::program("reach"));
    });
    let recording = Step::shell(&system, "reach && echo done").succeed(executor).await;
    assert_eq!(recording.text(), "done\n", "{recording}");
}

pub(crate) async fn capabilities_and_filter_are_those_of_docker(executor: &dyn Executor, workshop: &Workshop) {
    let busybox = workshop.busybox();
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\n\\t'; echo; \
                  unshare -U true 2>/dev/null || echo refused";
    let none = "0000000000000000";
    let docker = "00000000a80425fb";
    let root = Step::shell(&busybox, script).succeed(executor).await;
    let expected = |effective| {
        format!(
            "CapInh:{none}CapPrm:{effective}CapEff:{effective}CapBnd:{docker}CapAmb:{none}NoNewPrivs:0Seccomp:2\n\
             refused\n"
        )
    };
    assert_eq!(root.text(), expected(docker));
    let user = Step::shell(&busybox, script).user(1000, 1000, &[]).succeed(executor).await;
    assert_eq!(user.text(), expected(none));
}

pub(crate) async fn hosts_are_the_sandboxs_own(executor: &dyn Executor, workshop: &Workshop) {
    let script = "hostname; grep -c \"$(hostname)\" /etc/hosts; grep -c nameserver /etc/resolv.conf; \
                  stat -c %a /etc/hosts /etc/resolv.conf";
    assert_eq!(shell(executor, workshop, script).await.text(), "hypr\n1\n0\n644\n644\n");
}

pub(crate) async fn resolv_conf_may_be_a_link_to_nowhere(executor: &dyn Executor, workshop: &Workshop) {
    let snapshot = workshop.busybox_and(|layer| {
        layer.symlink("etc/resolv.conf", "../run/resolve/stub.conf");
    });
    let recording = Step::shell(&snapshot, "cat /etc/resolv.conf; readlink /etc/resolv.conf").succeed(executor).await;
    assert!(recording.text().ends_with("network.\n../run/resolve/stub.conf\n"), "{recording}");
    assert_eq!(recording.paths(), [""; 0]);
}
