//! Why a step is carried out: the first of its inputs that no earlier record has.

use hypr_squash::{Kind, Overlay, overlay::Node};

use super::{
    Solver,
    arrangement::{Arrangement, Content, Entry},
    error::StepError,
    ground::shown,
};
use crate::{
    plan::Step,
    progress::Event,
    store::{Difference, Key},
};

/// Characters of a value that are shown.
const LONGEST: usize = 60;

impl Solver {
    /// Tells why the step with this key is carried out, if that is asked for and the cache does not have it.
    pub(super) fn explain(&self, step: &Step, key: &Key) -> Result<(), StepError> {
        if !self.is_to_explain(step, key)? {
            return Ok(());
        }
        let reason = match self.store.closest_step(key)? {
            None => "there is no earlier step of its kind".to_owned(),
            Some((_, difference)) => described(&difference),
        };
        self.tell(step, reason);
        Ok(())
    }

    /// As [`explain`](Self::explain), for a step that arranges files; `lender` finds the layer that it made last.
    pub(super) async fn explain_files(
        &self,
        step: &Step,
        key: &Key,
        arrangement: &Arrangement,
        lender: &Key,
    ) -> Result<(), StepError> {
        if !self.is_to_explain(step, key)? {
            return Ok(());
        }
        let earlier = self.store.step(lender)?.and_then(|record| record.layer).and_then(|id| self.store.layer(&id));
        let reason = match earlier {
            None => "this instruction was never carried out before".to_owned(),
            Some(layer) => {
                let earlier = Overlay::part(vec![self.readers.layer(&layer)?]);
                let difference = first_difference(arrangement, &earlier)?;
                difference.unwrap_or_else(|| "its layer was encoded in another way".to_owned())
            }
        };
        self.tell(step, reason);
        Ok(())
    }

    fn is_to_explain(&self, step: &Step, key: &Key) -> Result<bool, StepError> {
        if !self.explains {
            return Ok(false);
        }
        if step.uncached {
            self.tell(step, "the cache is not to be used for it".to_owned());
            return Ok(false);
        }
        let Some(record) = self.store.step(key)? else { return Ok(true) };
        if record.layer.is_some_and(|id| self.store.layer(&id).is_none()) {
            self.tell(step, "its layer is gone from the store".to_owned());
        } else if let Some(executor) = record.executor.filter(|executor| !(self.accepts)(executor)) {
            self.tell(step, format!("it was carried out by the executor `{executor}`, which is not good enough here"));
        }
        Ok(false)
    }

    fn tell(&self, step: &Step, reason: String) {
        self.sink.event(Event::Explained { step: step.info.clone(), reason });
    }
}

fn described(Difference { name, then, now }: &Difference) -> String {
    let value = |value: &Option<String>| value.as_deref().map(short);
    match (name.as_str(), value(then), value(now)) {
        ("parent", ..) => "what it stands on has changed".to_owned(),
        (name, Some(then), Some(now)) => format!("{name} was {then} and is {now}"),
        (name, None, Some(now)) => format!("{name} {now} is new"),
        (name, Some(then), None) => format!("{name} {then} is gone"),
        (name, None, None) => format!("{name} has changed"),
    }
}

fn short(value: &str) -> String {
    let mut text: String = value.chars().take(LONGEST).collect();
    if text.len() < value.len() {
        text.push_str("...");
    }
    format!("{text:?}")
}

/// The first path in which the layer to be made differs from an earlier one, and how.
fn first_difference(arrangement: &Arrangement, earlier: &Overlay) -> Result<Option<String>, StepError> {
    for (path, entry) in arrangement.entries() {
        let how = match earlier.lookup(path)? {
            None => Some("is new"),
            Some(node) => difference(entry, &node)?,
        };
        if let Some(how) = how {
            return Ok(Some(format!("`{}` {how}", shown(path))));
        }
    }
    for visit in earlier.walk() {
        let (path, _) = visit?;
        if arrangement.get(&path).is_none() {
            return Ok(Some(format!("`{}` is gone", shown(&path))));
        }
    }
    Ok(None)
}

fn difference(entry: &Entry, node: &Node) -> Result<Option<&'static str>, StepError> {
    let metadata = node.metadata()?;
    let is_same_content = match (&entry.content, node.kind()?) {
        (Content::Directory, Kind::Directory) => true,
        (Content::File { digest, .. }, Kind::File { .. }) => *digest == node.content_digest()?.into(),
        // Names of one file: its content is looked at under the first of them.
        (Content::HardLink(_), Kind::File { .. }) => true,
        (Content::Symlink(target), Kind::Symlink { target: earlier }) => *target == earlier,
        (Content::Special(special), Kind::Special(earlier)) => *special == earlier,
        _ => return Ok(Some("is of another type")),
    };
    Ok(match () {
        () if !is_same_content => Some("has another content"),
        () if matches!(entry.content, Content::HardLink(_)) => None,
        () if entry.metadata.mode != metadata.mode => Some("has other permissions"),
        () if (entry.metadata.uid, entry.metadata.gid) != (metadata.uid, metadata.gid) => Some("has another owner"),
        () if entry.metadata.xattrs != metadata.xattrs => Some("has other extended attributes"),
        () => None,
    })
}
