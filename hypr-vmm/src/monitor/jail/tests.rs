use super::*;

/// Calls that a monitor that was taken over would like to make, none of which any of its threads may.
const FORBIDDEN: [i64; 35] = [
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_creat,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_memfd_create,
    libc::SYS_bpf,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_fcntl,
];

/// Runs `act` in a child with the filter of `role`; the signal that ended it, if one did.
fn confined(role: Role, act: impl FnOnce()) -> Option<i32> {
    let filter = filter(role).unwrap();
    // SAFETY: the child makes system calls alone and ends by one; it returns to nothing of this process.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let _ = rustix::thread::set_no_new_privs(true);
        if confine(&filter).is_ok() {
            act();
        }
        // SAFETY: the call ends the process.
        unsafe { libc::_exit(0) }
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status))
}

#[test]
fn calls_that_a_monitor_does_not_need_end_it() {
    for role in [Role::Main, Role::Disks, Role::Vcpu] {
        for call in FORBIDDEN {
            let ended = confined(role, || {
                // SAFETY: the call is refused before it looks at its arguments.
                let _ = unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
            });
            assert_eq!(ended, Some(libc::SIGSYS), "{role:?} may make call {call}");
        }
    }
}

#[test]
fn memory_for_programs_or_that_does_not_count_and_requests_to_kvm_but_one_end_it() {
    for role in [Role::Main, Role::Disks, Role::Vcpu] {
        let map = |protection, kind| {
            confined(role, || {
                // SAFETY: a new mapping at a place of the kernel's choice.
                let _ =
                    unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, kind | libc::MAP_ANONYMOUS, -1, 0) };
            })
        };
        let data = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(map(data, libc::MAP_PRIVATE), None, "{role:?}");
        assert_eq!(map(libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE), Some(libc::SIGSYS), "{role:?}");
        for kind in [libc::MAP_SHARED, libc::MAP_SHARED_VALIDATE] {
            assert_eq!(map(data, kind), Some(libc::SIGSYS), "{role:?}");
            assert_eq!(map(data, kind | libc::MAP_NORESERVE), Some(libc::SIGSYS), "{role:?}");
        }
        // `KVM_CREATE_VM`, on no descriptor.
        let ended = confined(role, || {
            // SAFETY: the call is refused before it looks at its arguments.
            let _ = unsafe { libc::ioctl(-1, 0xae01, 0) };
        });
        assert_eq!(ended, Some(libc::SIGSYS), "{role:?}");
    }
    let run = confined(Role::Vcpu, || {
        // SAFETY: there is no such descriptor.
        let _ = unsafe { libc::ioctl(-1, KVM_RUN, 0) };
    });
    assert_eq!(run, None);
}
