//! Who a step runs as or a copied file belongs to: names looked up in the image's own passwd and group files.
//!
//! `USER` and `--chown` take `user`, `user:group`, numbers or names (Dockerfile reference, "USER" and "COPY --chown").

/// The image's `/etc/passwd` and `/etc/group`; empty where the image has none.
#[derive(Debug, Default, Clone)]
pub(crate) struct Accounts {
    pub(crate) passwd: Vec<u8>,
    pub(crate) group: Vec<u8>,
}

/// A user as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, in the order of the group file.
    pub(crate) groups: Vec<u32>,
    /// Home directory, `/` for a user that the passwd file does not name.
    pub(crate) home: String,
}

/// Why a user or group could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A name that the passwd file does not have.
    #[error("no user `{0}` in the image's /etc/passwd; create it in an earlier step or give its number")]
    UnknownUser(String),
    /// A name that the group file does not have.
    #[error("no group `{0}` in the image's /etc/group; create it in an earlier step or give its number")]
    UnknownGroup(String),
    /// Nothing where a user or group should be, or a number out of range.
    #[error("`{0}` is not a user[:group]")]
    Malformed(String),
}

impl Accounts {
    /// Resolves a `USER` value; the empty string is root.
    pub(crate) fn user(&self, spec: &str) -> Result<User, UserError> {
        let (user, group) = split(spec)?;
        let entry = match user {
            "" => self.passwd_entry(|entry| entry.uid == 0),
            name => match number(name, spec)? {
                Some(uid) => self.passwd_entry(|entry| entry.uid == uid),
                None => Some(
                    self.passwd_entry(|entry| entry.name == name)
                        .ok_or_else(|| UserError::UnknownUser(name.to_owned()))?,
                ),
            },
        };
        let uid = match (&entry, number(user, spec)?) {
            (Some(entry), _) => entry.uid,
            (None, uid) => uid.unwrap_or(0),
        };
        let gid = match group {
            Some(group) => self.gid(group, spec)?,
            None => entry.as_ref().map_or(0, |entry| entry.gid),
        };
        // An explicit group replaces the supplementary ones, as the reference says of USER.
        let groups = match (&entry, group) {
            (Some(entry), None) => self.groups_of(&entry.name),
            _ => Vec::new(),
        };
        let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned());
        Ok(User { uid, gid, groups, home })
    }

    /// Resolves a `--chown` value to user and group; without a group, the group is the user's own, or for a bare number
    /// the same number.
    pub(crate) fn owner(&self, spec: &str) -> Result<(u32, u32), UserError> {
        let (user, group) = split(spec)?;
        let by_number = number(user, spec)?;
        let uid = match by_number {
            Some(uid) => uid,
            None if user.is_empty() => 0,
            None => {
                self.passwd_entry(|entry| entry.name == user)
                    .ok_or_else(|| UserError::UnknownUser(user.to_owned()))?
                    .uid
            }
        };
        let gid = match group {
            Some(group) => self.gid(group, spec)?,
            None if by_number.is_some() => uid,
            None => self.passwd_entry(|entry| entry.name == user).map_or(0, |entry| entry.gid),
        };
        Ok((uid, gid))
    }

    fn gid(&self, group: &str, spec: &str) -> Result<u32, UserError> {
        if let Some(gid) = number(group, spec)? {
            return Ok(gid);
        }
        lines(&self.group)
            .find_map(|fields| (fields.first() == Some(&group)).then(|| fields.get(2)?.parse().ok())?)
            .ok_or_else(|| UserError::UnknownGroup(group.to_owned()))
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        lines(&self.group)
            .filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|member| member == user)))
            .filter_map(|fields| fields.get(2)?.parse().ok())
            .collect()
    }

    fn passwd_entry(&self, matches: impl Fn(&Entry) -> bool) -> Option<Entry> {
        lines(&self.passwd)
            .filter_map(|fields| {
                Some(Entry {
                    name: (*fields.first()?).to_owned(),
                    uid: fields.get(2)?.parse().ok()?,
                    gid: fields.get(3)?.parse().ok()?,
                    home: fields.get(5).copied().unwrap_or_default().to_owned(),
                })
            })
            .find(matches)
    }
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// The fields of every line that is UTF-8; others cannot hold a name that a Dockerfile could write.
fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    file.split(|&byte| byte == b'\n').filter_map(|line| Some(std::str::from_utf8(line).ok()?.split(':').collect()))
}

/// `user` or `user:group`.
fn split(spec: &str) -> Result<(&str, Option<&str>), UserError> {
    match spec.split_once(':') {
        None => Ok((spec, None)),
        Some((_, group)) if group.is_empty() || group.contains(':') => Err(UserError::Malformed(spec.to_owned())),
        Some((user, group)) => Ok((user, Some(group))),
    }
}

/// The number that `text` is, `None` for a name, an error for a number out of range.
fn number(text: &str, spec: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // The kernel reserves the highest number for "no change".
    match text.parse() {
        Ok(number) if number < u32::MAX => Ok(Some(number)),
        _ => Err(UserError::Malformed(spec.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: b"root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n".to_vec(),
            group: b"root:x:0:\napp:x:1001:\nwheel:x:10:root,app\nstaff:x:50:app\n".to_vec(),
        }
    }

    #[test]
    fn user_takes_ids_home_and_groups_from_the_image() {
        for (spec, uid, gid, groups, home) in [
            ("", 0, 0, vec![10], "/root"),
            ("root", 0, 0, vec![10], "/root"),
            ("app", 1000, 1001, vec![10, 50], "/home/app"),
            ("1000", 1000, 1001, vec![10, 50], "/home/app"),
            ("app:staff", 1000, 50, vec![], "/home/app"),
            ("app:7", 1000, 7, vec![], "/home/app"),
            ("4242", 4242, 0, vec![], "/"),
            ("4242:app", 4242, 1001, vec![], "/"),
        ] {
            let user = accounts().user(spec).unwrap();
            assert_eq!(
                (user.uid, user.gid, user.groups, user.home.as_str()),
                (uid, gid, groups, home),
                "USER {spec:?}"
            );
        }
    }

    #[test]
    fn owner_without_a_group_takes_the_users_group_or_the_same_number() {
        for (spec, owner) in [("app", (1000, 1001)), ("55", (55, 55)), ("app:0", (1000, 0)), (":wheel", (0, 10))] {
            assert_eq!(accounts().owner(spec), Ok(owner), "--chown={spec}");
        }
    }

    #[test]
    fn unknown_names_and_malformed_values_are_refused() {
        assert_eq!(accounts().user("nobody"), Err(UserError::UnknownUser("nobody".into())));
        assert_eq!(accounts().owner("app:none"), Err(UserError::UnknownGroup("none".into())));
        for spec in ["app:", "a:b:c", "4294967295", "99999999999"] {
            assert_eq!(accounts().owner(spec), Err(UserError::Malformed(spec.into())), "{spec}");
        }
    }
}
