//! `RUN --mount`: its options, as the Dockerfile reference has them under "RUN --mount".

use std::ops::Range;

use super::{
    error::{PlanError, Problem},
    expand::Words,
    graph::{Files, Mount, MountKind, Sharing},
    path,
};
use crate::{
    dockerfile::{self, Span, Spanned},
    ssh::DEFAULT_AGENT,
};

/// The options that every type knows, and those of single types.
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];
/// What can be mounted.
const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
/// The names of the option that says where.
const TARGETS: [&str; 3] = ["target", "dst", "destination"];
/// What stands before the options.
const FLAG: &str = "--mount=";
/// Where a secret is found that names no target.
const SECRETS: &str = "/run/secrets/";
/// Where an SSH agent is found whose mount names no target, with its number among them.
const SSH_AGENTS: &str = "/run/buildkit/ssh_agent.";

/// A mount's options, in their order.
pub(super) struct Options<'a> {
    word: &'a Spanned<String>,
    fields: Vec<Field>,
}

/// One of them: its name in lower case, its value if there is any, and where it stands.
struct Field {
    name: String,
    value: Option<String>,
    span: Span,
}

impl<'a> Options<'a> {
    /// Splits the value of a `--mount`.
    ///
    /// # Errors
    /// Fails on an option that there is not, and on one that lacks its value.
    pub(super) fn read(word: &'a Spanned<String>) -> Result<Self, PlanError> {
        let unclosed = || Problem::Mount("a quote in --mount is not closed".to_owned()).at(word.span);
        // What is written within a flag is as long as its value, unless it goes on in another line.
        let value_start = word.span.end.saturating_sub(word.value.len());
        let is_on_one_line = value_start.checked_sub(FLAG.len()) == Some(word.span.start);
        let mut fields = Vec::new();
        for (field, range) in split(&word.value).ok_or_else(unclosed)? {
            let span = match is_on_one_line {
                true => Span::new(value_start + range.start, value_start + range.end),
                false => word.span,
            };
            let wrong = |reason: String| Problem::Mount(reason).at(span);
            let (name, value) = match field.split_once('=') {
                Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(value.to_owned())),
                None => (field.trim().to_ascii_lowercase(), None),
            };
            if !KEYS.contains(&name.as_str()) {
                let hint = dockerfile::nearest(&name, KEYS).map(|key| format!("; did you mean `{key}`?"));
                return Err(wrong(format!("--mount has no option `{name}`{}", hint.unwrap_or_default())));
            }
            let is_flag = matches!(name.as_str(), "readonly" | "ro" | "readwrite" | "rw" | "required");
            if value.is_none() && !is_flag {
                return Err(wrong(format!("the option `{name}` of --mount needs a value: `{name}=...`")));
            }
            fields.push(Field { name, value, span });
        }
        Ok(Self { word, fields })
    }

    /// What `from=` names; variables are not expanded there.
    ///
    /// # Errors
    /// Fails when there is a variable.
    pub(super) fn from(&self) -> Result<Option<&str>, PlanError> {
        match self.last(&["from"]) {
            Some(from) if from.contains('$') => Err(Problem::VariableInFrom.at(self.word.span)),
            from => Ok(from),
        }
    }

    /// The mount, with `from` where its files come from. `cwd` is what relative targets are relative to, and `sockets`
    /// how many mounts of SSH agents the instruction has before this one.
    pub(super) fn mount(
        &self,
        words: &Words<'_, '_>,
        cwd: &str,
        from: Option<Files>,
        sockets: usize,
    ) -> Result<Mount, PlanError> {
        let kind = self.value(words, &["type"])?.unwrap_or_else(|| "bind".to_owned());
        let only = |types: &[&str], keys: &[&str]| match self.name_of(keys) {
            Some(key) if !types.contains(&kind.as_str()) => {
                let reason = format!("a mount of type {kind} has no option `{key}`; it is for {}", types.join(", "));
                Err(self.wrong_in(keys, reason))
            }
            _ => Ok(()),
        };
        if !TYPES.contains(&kind.as_str()) {
            let hint = dockerfile::nearest(&kind, TYPES).map(|kind| format!("; did you mean `{kind}`?"));
            let hint = hint.unwrap_or_else(|| format!("; there are {}", TYPES.join(", ")));
            return Err(self.wrong_in(&["type"], format!("{kind:?} is no type of mount{hint}")));
        }
        only(&["cache"], &["sharing"])?;
        only(&["tmpfs"], &["size"])?;
        only(&["secret"], &["env"])?;
        only(&["secret", "ssh"], &["required"])?;
        only(&["cache", "secret", "ssh"], &["id", "mode", "uid", "gid"])?;
        only(&["bind", "cache"], &["from"])?;
        only(&["bind", "cache", "secret"], &["source", "src"])?;
        only(&["bind", "cache"], &["readonly", "ro", "readwrite", "rw"])?;

        let target = self.value(words, &TARGETS)?.filter(|target| !target.is_empty());
        let source = self.value(words, &["source", "src"])?;
        let id = self.value(words, &["id"])?.filter(|id| !id.is_empty());
        let absolute = |target: &str| path::absolute(cwd, target);
        let needed = || {
            let target = target.as_deref().map(absolute);
            target.ok_or_else(|| self.wrong(format!("a mount of type {kind} needs a target: `target=/path`")))
        };
        let (uid, gid) =
            (self.number(words, &["uid"], 10)?.unwrap_or(0), self.number(words, &["gid"], 10)?.unwrap_or(0));
        let mode = self.number(words, &["mode"], 8)?;
        let is_read_only = self.flag(words, &["readonly", "ro"])?;
        let is_writable = self.flag(words, &["readwrite", "rw"])?;
        let mut mount = match kind.as_str() {
            "bind" => Mount {
                target: needed()?,
                kind: MountKind::Bind {
                    from: from.unwrap_or(Files::Context),
                    source: source.unwrap_or_default(),
                    writable: is_writable.unwrap_or(false) && is_read_only != Some(true),
                },
            },
            "cache" => {
                let target = needed()?;
                let sharing = match self.value(words, &["sharing"])?.as_deref() {
                    None | Some("shared") => Sharing::Shared,
                    Some("private") => Sharing::Private,
                    Some("locked") => Sharing::Locked,
                    Some(other) => {
                        let reason = format!("sharing={other} is none of shared, private, locked");
                        return Err(self.wrong_in(&["sharing"], reason));
                    }
                };
                let id = id.unwrap_or_else(|| target.clone());
                let read_only = is_read_only.unwrap_or(false) && is_writable != Some(true);
                let source = source.unwrap_or_default();
                let mode = mode.unwrap_or(0o755);
                Mount { target, kind: MountKind::Cache { id, from, source, sharing, read_only, mode, uid, gid } }
            }
            "tmpfs" => {
                let size = self.value(words, &["size"])?.map(|size| self.size(&size)).transpose()?;
                Mount { target: needed()?, kind: MountKind::Tmpfs { size } }
            }
            secret_or_ssh => {
                let required = self.flag(words, &["required"])?.unwrap_or(false);
                if secret_or_ssh == "ssh" {
                    let id = id.unwrap_or_else(|| DEFAULT_AGENT.to_owned());
                    let target = target.as_deref().map_or_else(|| format!("{SSH_AGENTS}{sockets}"), absolute);
                    let mode = mode.unwrap_or(0o600);
                    Mount { target, kind: MountKind::Ssh { id, required, mode, uid, gid } }
                } else {
                    let env = self.value(words, &["env"])?.filter(|env| !env.is_empty());
                    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                    let id = id.or(source).or_else(|| target.as_deref().map(base)).or_else(|| env.clone());
                    let id = id.filter(|id| !id.is_empty());
                    let id = id.ok_or_else(|| self.wrong("a secret needs `id=...` or a target".to_owned()))?;
                    let target = match (&target, &env) {
                        (Some(target), _) => absolute(target),
                        (None, Some(_)) => String::new(),
                        (None, None) => format!("{SECRETS}{}", base(&id)),
                    };
                    let mode = mode.unwrap_or(0o400);
                    Mount { target, kind: MountKind::Secret { id, required, env, mode, uid, gid } }
                }
            }
        };
        if mount.target == "/" {
            let reason = "nothing can be mounted over the root: choose another target".to_owned();
            return Err(self.wrong_in(&TARGETS, reason));
        }
        if let Some(own) = ["/proc", "/sys", "/dev"].iter().find(|own| below(&mount.target, own)) {
            let reason = format!("{own} is the sandbox's own: nothing can be mounted at {}", mount.target);
            return Err(self.wrong_in(&TARGETS, reason));
        }
        if mount.target.len() > 4000 {
            return Err(self.wrong_in(&TARGETS, "the target is longer than a path may be".to_owned()));
        }
        if let MountKind::Cache { id, .. } = &mut mount.kind
            && id.contains('\0')
        {
            return Err(self.wrong_in(&["id"], "an id has no zero bytes".to_owned()));
        }
        Ok(mount)
    }

    fn wrong(&self, reason: String) -> PlanError {
        Problem::Mount(reason).at(self.word.span)
    }

    /// What is wrong with the last option that has one of these names.
    fn wrong_in(&self, keys: &[&str], reason: String) -> PlanError {
        let field = self.fields.iter().rev().find(|field| keys.contains(&field.name.as_str()));
        Problem::Mount(reason).at(field.map_or(self.word.span, |field| field.span))
    }

    /// The name under which the first of `keys` was given.
    fn name_of(&self, keys: &[&str]) -> Option<&str> {
        self.fields.iter().map(|field| field.name.as_str()).find(|name| keys.contains(name))
    }

    fn last(&self, keys: &[&str]) -> Option<&str> {
        let field = self.fields.iter().rev().find(|field| keys.contains(&field.name.as_str()));
        field.and_then(|field| field.value.as_deref())
    }

    /// The value that was given last, variables expanded.
    fn value(&self, words: &Words<'_, '_>, keys: &[&str]) -> Result<Option<String>, PlanError> {
        let word = |value: &str| words.word(&Spanned::new(value.to_owned(), self.word.span));
        self.last(keys).map(word).transpose()
    }

    fn flag(&self, words: &Words<'_, '_>, keys: &[&str]) -> Result<Option<bool>, PlanError> {
        if self.name_of(keys).is_none() {
            return Ok(None);
        }
        match self.value(words, keys)?.map(|value| value.to_ascii_lowercase()).as_deref() {
            None | Some("true" | "1" | "t") => Ok(Some(true)),
            Some("false" | "0" | "f") => Ok(Some(false)),
            Some(other) => Err(self.wrong_in(keys, format!("{}={other} is neither true nor false", keys[0]))),
        }
    }

    fn number(&self, words: &Words<'_, '_>, keys: &[&str], radix: u32) -> Result<Option<u32>, PlanError> {
        let Some(value) = self.value(words, keys)? else { return Ok(None) };
        let limit = if radix == 8 { 0o7777 } else { u32::MAX - 1 };
        match u32::from_str_radix(&value, radix).ok().filter(|number| *number <= limit) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong_in(keys, format!("{}={value} is no number that fits there", keys[0]))),
        }
    }

    /// Bytes, with a suffix as Docker has it: `k`, `m`, `g`, `t`, with or without `b` or `ib`.
    fn size(&self, text: &str) -> Result<u64, PlanError> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => 64,
        };
        let bytes = digits.trim().parse::<u64>().ok().filter(|_| shift < 64).and_then(|n| n.checked_mul(1 << shift));
        bytes
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| self.wrong_in(&["size"], format!("size={text} is no size such as 64m")))
    }
}

/// Sorts mounts so that one inside of another comes after it.
pub(super) fn sort(mounts: &mut [Mount]) {
    mounts.sort_by_key(|mount| mount.target.split('/').filter(|part| !part.is_empty()).count());
}

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The fields of a line of comma-separated values, and where they stand in it; one in double quotes may hold commas, and
/// a doubled quote is one. `None` when a quote is not closed.
fn split(line: &str) -> Option<Vec<(String, Range<usize>)>> {
    let mut fields = vec![(String::new(), 0..0)];
    let mut is_quoted = false;
    let mut rest = line.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let (field, range) = fields.last_mut()?;
        match c {
            '"' if is_quoted && rest.peek().is_some_and(|(_, next)| *next == '"') => {
                rest.next();
                field.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                range.end = at;
                fields.push((String::new(), at + 1..at + 1));
            }
            c => field.push(c),
        }
    }
    fields.last_mut()?.1.end = line.len();
    fields.retain(|(field, _)| !field.trim().is_empty());
    (!is_quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dockerfile::{Escape, Span},
        plan::budget::Budget,
    };

    fn mount(text: &str) -> Result<Mount, String> {
        let word = Spanned::new(text.to_owned(), Span::default());
        let budget = Budget::new();
        let words = Words::new(Escape::default(), &budget, |name| (name == "V").then_some("value"));
        let read = Options::read(&word).and_then(|options| options.mount(&words, "/work", None, 3));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let bind = mount("target=a").unwrap();
        assert_eq!(bind.target, "/work/a");
        let MountKind::Bind { from: Files::Context, source, writable: false } = bind.kind else { panic!("{bind:?}") };
        assert_eq!(source, "");
        let cache = mount("type=cache,dst=/root/.cache").unwrap().kind;
        let MountKind::Cache { id, sharing: Sharing::Shared, read_only: false, mode: 0o755, uid: 0, gid: 0, .. } =
            cache
        else {
            panic!("{cache:?}")
        };
        assert_eq!(id, "/root/.cache");
        let secret = mount("type=secret,id=key").unwrap();
        assert_eq!(secret.target, "/run/secrets/key");
        assert!(matches!(secret.kind, MountKind::Secret { required: false, env: None, mode: 0o400, .. }));
        assert_eq!(mount("type=secret,id=key,env=KEY").unwrap().target, "");
        assert_eq!(mount("type=secret,target=/etc/key").unwrap().target, "/etc/key");
        let ssh = mount("type=ssh").unwrap();
        assert_eq!(ssh.target, "/run/buildkit/ssh_agent.3");
        let MountKind::Ssh { id, required: false, mode: 0o600, uid: 0, gid: 0 } = ssh.kind else { panic!("{ssh:?}") };
        assert_eq!(id, "default");
        assert_eq!(mount("type=ssh,target=agent").unwrap().target, "/work/agent");
    }

    #[test]
    fn options_are_read_and_expanded() {
        let text = "type=cache,id=$V,target=/c,sharing=locked,mode=0700,uid=5,gid=6,source=/s";
        let MountKind::Cache { id, sharing: Sharing::Locked, mode: 0o700, uid: 5, gid: 6, source, .. } =
            mount(text).unwrap().kind
        else {
            panic!()
        };
        assert_eq!((&id[..], &source[..]), ("value", "/s"));
        assert!(matches!(mount("target=/a,rw").unwrap().kind, MountKind::Bind { writable: true, .. }));
        assert!(matches!(mount("target=/a,rw=false").unwrap().kind, MountKind::Bind { writable: false, .. }));
        assert!(matches!(
            mount("type=tmpfs,target=/t,size=2m").unwrap().kind,
            MountKind::Tmpfs { size: Some(0x20_0000) }
        ));
        assert_eq!(mount("\"type=tmpfs\",\"target=/a,b\"").unwrap().target, "/a,b");
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, part) in [
            ("type=cahce,target=/a", "type=cahce"),
            ("type=cache,taget=/a", "taget=/a"),
            ("type=cache,target=/a,sharing=all,id=x", "sharing=all"),
            ("type=tmpfs,\"target=/,\",size=1x", "size=1x"),
            ("type=tmpfs,target=/proc", "target=/proc"),
            ("type=cache,target", "target"),
        ] {
            let source = format!("--mount={text}");
            let word = Spanned::new(text.to_owned(), Span::new(0, source.len()));
            let budget = Budget::new();
            let words = Words::new(Escape::default(), &budget, |_| None);
            let read = Options::read(&word).and_then(|options| options.mount(&words, "/", None, 0));
            let span = read.unwrap_err().span.unwrap();
            assert_eq!(&source[span.start..span.end], part, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("type=volume,target=/a", "no type of mount"),
            ("type=cache", "needs a target"),
            ("type=cache,target=/a,sharing=all", "none of shared"),
            ("type=bind,target=/a,size=1m", "no option `size`"),
            ("type=tmpfs,target=/a,uid=1", "no option `uid`"),
            ("type=secret", "needs `id="),
            ("type=secret,id=a,required=perhaps", "neither true nor false"),
            ("type=cache,target=/a,tagret=/b", "did you mean `target`"),
            ("type=cache,target", "needs a value"),
            ("type=cache,target=/", "over the root"),
            ("type=tmpfs,target=/dev/shm", "/dev is the sandbox's own"),
            ("type=tmpfs,target=/a,size=much", "no size"),
            ("type=cache,target=/a,mode=99999", "no number"),
            ("type=cache,\"target=/a", "not closed"),
        ] {
            let error = mount(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn inner_mounts_come_after_outer_ones() {
        let mut mounts = ["target=/a/b/c", "target=/a", "target=/a/b"].map(|text| mount(text).unwrap());
        sort(&mut mounts);
        assert_eq!(mounts.map(|mount| mount.target), ["/a", "/a/b", "/a/b/c"]);
    }
}
