//! What a process may do beyond its files: Linux capabilities.

/// A capability; the discriminant is the kernel's number of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(dead_code, reason = "the numbers are the kernel's and all of them belong here")]
pub(crate) enum Capability {
    Chown,
    DacOverride,
    DacReadSearch,
    Fowner,
    Fsetid,
    Kill,
    Setgid,
    Setuid,
    Setpcap,
    LinuxImmutable,
    NetBindService,
    NetBroadcast,
    NetAdmin,
    NetRaw,
    IpcLock,
    IpcOwner,
    SysModule,
    SysRawio,
    SysChroot,
    SysPtrace,
    SysPacct,
    SysAdmin,
    SysBoot,
    SysNice,
    SysResource,
    SysTime,
    SysTtyConfig,
    Mknod,
    Lease,
    AuditWrite,
    AuditControl,
    Setfcap,
    MacOverride,
    MacAdmin,
    Syslog,
    WakeAlarm,
    BlockSuspend,
    AuditRead,
    Perfmon,
    Bpf,
    CheckpointRestore,
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities(u64);

impl Capabilities {
    /// The fourteen that Docker gives to a container, and BuildKit to a `RUN`.
    pub(crate) const DEFAULT: Self = Self::of(&[
        Capability::AuditWrite,
        Capability::Chown,
        Capability::DacOverride,
        Capability::Fowner,
        Capability::Fsetid,
        Capability::Kill,
        Capability::Mknod,
        Capability::NetBindService,
        Capability::NetRaw,
        Capability::Setfcap,
        Capability::Setgid,
        Capability::Setpcap,
        Capability::Setuid,
        Capability::SysChroot,
    ]);

    /// The set of `capabilities`.
    pub(crate) const fn of(capabilities: &[Capability]) -> Self {
        let mut bits = 0;
        let mut rest = capabilities;
        while let [first, others @ ..] = rest {
            bits |= 1 << *first as u8;
            rest = others;
        }
        Self(bits)
    }

    /// Whether `capability` is in the set.
    pub(crate) const fn contains(self, capability: Capability) -> bool {
        self.0 >> capability as u8 & 1 == 1
    }

    /// The set as the kernel takes it: bit N is capability number N.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_the_mask_that_a_container_shows() {
        // CapEff of a process in a container of Docker's, in /proc/self/status.
        assert_eq!(format!("{:016x}", Capabilities::DEFAULT.bits()), "00000000a80425fb");
        assert_eq!(Capabilities::DEFAULT.bits().count_ones(), 14);
    }

    #[test]
    fn numbers_are_the_kernels() {
        for (capability, number) in [
            (Capability::SysAdmin, 21),
            (Capability::Setfcap, 31),
            (Capability::Syslog, 34),
            (Capability::CheckpointRestore, 40),
        ] {
            assert_eq!(Capabilities::of(&[capability]).bits(), 1 << number, "{capability:?}");
        }
        assert!(!Capabilities::DEFAULT.contains(Capability::SysAdmin));
    }
}
