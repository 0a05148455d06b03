//! Which extended attributes of an upper directory are content, and which are overlayfs's own marks.

/// Under which prefix overlayfs keeps its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// `trusted.overlay.`: mounted with the privileges of the host's root.
    Trusted,
    /// `user.overlay.`: mounted in a user namespace, with the option `userxattr`.
    User,
}

/// What an attribute stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Something that the process, or the image below, put there.
    Content,
    /// The directory hides what is below it.
    Opaque,
    /// The empty file is a whiteout.
    Whiteout,
    /// The entry refers to a lower layer, which a layer cannot say.
    Reference,
    /// Nothing that a layer keeps.
    Nothing,
}

impl Marks {
    /// What the attribute `name` with `value` stands for.
    ///
    /// A `user.overlay.` attribute under [`Trusted`](Self::Trusted) is a forgery by the process and means nothing.
    pub(crate) fn meaning(self, name: &[u8], value: &[u8]) -> Meaning {
        let (own, other) = match self {
            Self::Trusted => (&b"trusted.overlay."[..], &b"user.overlay."[..]),
            Self::User => (&b"user.overlay."[..], &b"trusted.overlay."[..]),
        };
        if let Some(mark) = name.strip_prefix(own) {
            return match (mark, value) {
                (b"opaque", b"y") => Meaning::Opaque,
                (b"whiteout", _) => Meaning::Whiteout,
                (b"redirect" | b"metacopy", _) => Meaning::Reference,
                // origin, impure, nlink, uuid and the like, and `opaque=x`: "whiteouts are attributes in here".
                _ => Meaning::Nothing,
            };
        }
        if name.starts_with(other) {
            return Meaning::Nothing;
        }
        // Labels of the host's security modules are not the image's. Access lists are passed on, so that the host can
        // tell that it leaves them out.
        let kept = name == b"security.capability"
            || [&b"user."[..], b"trusted.", b"system.posix_acl_"].iter().any(|prefix| name.starts_with(prefix));
        if kept { Meaning::Content } else { Meaning::Nothing }
    }
}
