//! Pods that want to see the addresses of Services: an annotation of theirs, or of their namespace, keeps their sockets from being
//! translated. What they send is translated packet by packet at their link.
//!
//! Decided once, when a pod gets its link, before its first process runs; kept in the kernel as long as it has that link. A later
//! change of an annotation is for pods to come. Pure, but for [`Handle::settle_socket_lb`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use keelson_sys::sockets::cookie_of;

use crate::{Error, Handle, policy::PodKey};

/// The annotation of a pod or a namespace: `on` (as without it) or `off`. The pod's counts more.
pub const SOCKET_LB: &str = "keelson.dev/socket-lb";

/// What an annotation may say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SocketLb {
    On,
    Off,
}

fn parse(said: &str) -> Option<SocketLb> {
    match said {
        "on" => Some(SocketLb::On),
        "off" => Some(SocketLb::Off),
        _ => None,
    }
}

/// What the annotations of this node's pods and of all namespaces say, where they have one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wishes {
    pods: BTreeMap<PodKey, Box<str>>,
    namespaces: BTreeMap<Box<str>, Box<str>>,
}

impl Wishes {
    /// Whether that is new.
    pub(crate) fn set_pod(&mut self, key: &PodKey, said: Option<&str>) -> bool {
        set(&mut self.pods, key, said)
    }

    /// As above.
    pub(crate) fn set_namespace(&mut self, name: &str, said: Option<&str>) -> bool {
        set(&mut self.namespaces, &name.into(), said)
    }

    /// Whether a pod's sockets are left alone. What is no value counts as nothing said.
    pub(crate) fn bypasses(&self, pod: &PodKey) -> bool {
        let pods = self.pods.get(pod).and_then(|said| parse(said));
        pods.or_else(|| self.namespaces.get(&pod.0).and_then(|said| parse(said))) == Some(SocketLb::Off)
    }

    /// Whether any says what is no value.
    pub(crate) fn any_unknown(&self) -> bool {
        self.pods.values().chain(self.namespaces.values()).any(|said| parse(said).is_none())
    }

    /// What is wrong about a pod's, in words.
    pub(crate) fn unknown(&self, pod: &PodKey) -> Option<String> {
        let wrong = |said: Option<&Box<str>>, whose: &str| {
            let said = said.filter(|said| parse(said).is_none())?;
            Some(format!(
                "annotation {SOCKET_LB} of the {whose}: {said:?} is neither on nor off: as if it were not there"
            ))
        };
        wrong(self.pods.get(pod), "pod").or_else(|| wrong(self.namespaces.get(&pod.0), "pod's namespace"))
    }
}

fn set<K: Clone + Ord>(all: &mut BTreeMap<K, Box<str>>, key: &K, said: Option<&str>) -> bool {
    if all.get(key).map(|known| &**known) == said {
        return false;
    }
    match said {
        Some(said) => all.insert(key.clone(), said.into()),
        None => all.remove(key),
    };
    true
}

impl Handle {
    /// Has a new pod's sockets left alone, if it is to be so: to be called when it has its link, before its first process runs.
    /// Nothing without per-packet programs, which would have to translate in their place.
    ///
    /// Waits until the pod's annotations are known, five seconds at most: then it is as if there were none.
    pub async fn settle_socket_lb(
        &self,
        (namespace, name, uid): (&str, &str, &str),
        link: &str,
        netns: &Path,
    ) -> Result<(), Error> {
        if uid.is_empty() || self.shared.progress.borrow().policies.is_none() {
            return Ok(());
        }
        let key: PodKey = (namespace.into(), name.into());
        if !self.settled(&key, uid).await {
            tracing::warn!(
                namespace,
                pod = name,
                "the pod's annotations were not known in time: its sockets are translated"
            );
            return Ok(());
        }
        if !self.shared.progress.borrow().wishes.bypasses(&key) {
            return Ok(());
        }
        let (link, netns): (String, PathBuf) = (link.into(), netns.into());
        self.packets(move |packets| {
            let cookie = cookie_of(&netns).map_err(|source| Error::PodNamespace { path: netns, source })?;
            packets.bypass_sockets(&link, cookie)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_word_counts_more_than_its_namespaces_and_what_is_no_value_counts_for_nothing() {
        let pod: PodKey = ("n".into(), "p".into());
        for (of_pod, of_namespace, bypasses, wrong) in [
            (None, None, false, None),
            (Some("off"), None, true, None),
            (None, Some("off"), true, None),
            (Some("on"), Some("off"), false, None),
            (Some("off"), Some("on"), true, None),
            (Some("no"), Some("off"), true, Some("of the pod: \"no\"")),
            (Some("Off"), None, false, Some("of the pod: \"Off\"")),
            (None, Some(""), false, Some("of the pod's namespace: \"\"")),
        ] {
            let mut wishes = Wishes::default();
            assert_eq!(wishes.set_pod(&pod, of_pod), of_pod.is_some());
            assert_eq!(wishes.set_namespace("n", of_namespace), of_namespace.is_some());
            assert_eq!(wishes.bypasses(&pod), bypasses, "{of_pod:?} {of_namespace:?}");
            assert_eq!(wishes.any_unknown(), wrong.is_some());
            let said = wishes.unknown(&pod);
            assert!(said.as_deref().unwrap_or_default().contains(wrong.unwrap_or_default()), "{said:?}");
            assert_eq!(said.is_some(), wrong.is_some());
            assert!(!wishes.set_pod(&pod, of_pod));
        }
    }

    #[test]
    fn what_is_not_said_any_more_is_forgotten() {
        let (pod, mut wishes) = (("n".into(), "p".into()), Wishes::default());
        wishes.set_pod(&pod, Some("off"));
        assert!(wishes.set_pod(&pod, None) && wishes == Wishes::default());
    }
}
