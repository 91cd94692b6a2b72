//! Who may use an image that is on the node already (KEP-2535, with upstream's default policy
//! `NeverVerifyPreloadedImages`).
//!
//! An image that this node pulled is for pods that could have pulled it themselves: with a credential by which it was
//! pulled from the same repository, or any pod where it was pulled without one. An image that came to the node in
//! another way is for every pod. For whom it is not is not told so: its pod pulls with what it has.
//!
//! On disk below the root folder, so that a restart forgets nothing: `images/pulled/<hash of the image's id>` is a
//! record, `images/pulling/<hash of the repository>` is there from before a pull until its record is, or until the pull
//! has surely failed. What cannot be written fails the pull. The records number no more than the images that the node has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files;
use super::keyring::Credential;

/// Credentials remembered for one repository of one image at most; without the oldest its pods pull once more.
const HOLDERS_MAX: usize = 256;

/// By which credential an image was pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    /// Uid of the secret.
    secret: String,
    /// Hash of user and password: another secret with the same content is as good.
    hash: String,
}

impl Holder {
    fn of(credential: &Credential) -> Self {
        let content = format!("{}\0{}", credential.username, credential.password);
        Self { secret: credential.secret.clone(), hash: hex(&content) }
    }

    /// The same secret, though its password may be new, or the same content.
    fn is_same(&self, other: &Self) -> bool {
        self.secret == other.secret || self.hash == other.hash
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Access {
    Everyone,
    Holders(Vec<Holder>),
}

/// One image that was pulled.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    image: String,
    repositories: BTreeMap<String, Access>,
}

/// Pulls from one repository that may have brought an image of which there is no record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Intent {
    repository: String,
    /// Ids of images that no pull had brought when one began: they are as open as they were.
    before: BTreeSet<String>,
    #[serde(skip)]
    running: usize,
    /// One of them ended and nobody knows how: given up, or the daemon before us ended during it.
    #[serde(skip)]
    left: bool,
}

/// For whom an image is that is on the node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// Every pod.
    Open,
    /// Pods with one of these credentials; see [`Holders::admit`].
    Closed(Holders<'a>),
}

/// The credentials of a closed image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holders<'a>(&'a [Holder]);

impl Holders<'_> {
    /// Whether one of a pod's credentials was pulled with.
    pub(super) fn admit(&self, credentials: &[Credential]) -> bool {
        credentials.iter().map(Holder::of).any(|own| self.0.iter().any(|holder| holder.is_same(&own)))
    }
}

/// All records of a node.
#[derive(Debug)]
pub(super) struct Records {
    dir: PathBuf,
    pulled: BTreeMap<String, Record>,
    pulling: BTreeMap<String, Intent>,
}

fn hex(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Records {
    /// Reads what there is below `root`. What is not readable is an error: without it a closed image would be open.
    pub(super) fn open(root: &Path) -> std::io::Result<Self> {
        let dir = root.join("images");
        let (mut pulled, mut pulling) = (BTreeMap::new(), BTreeMap::new());
        for folder in ["pulled", "pulling"] {
            files::make_private_folder(&dir.join(folder))?;
        }
        for text in files::contents(&dir.join("pulled"))? {
            let record: Record = serde_json::from_slice(&text)?;
            pulled.insert(record.image.clone(), record);
        }
        for text in files::contents(&dir.join("pulling"))? {
            let intent: Intent = serde_json::from_slice(&text)?;
            pulling.insert(intent.repository.clone(), Intent { left: true, ..intent });
        }
        Ok(Self { dir, pulled, pulling })
    }

    /// For whom the image with this id is, when it is asked for by this repository.
    pub(super) fn standing(&self, image: &str, repository: &str) -> Standing<'_> {
        match self.pulled.get(image).map(|record| record.repositories.get(repository)) {
            None if self.pulling.get(repository).is_none_or(|intent| intent.before.contains(image)) => {
                Standing::Open
            }
            Some(Some(Access::Everyone)) => Standing::Open,
            Some(Some(Access::Holders(holders))) => Standing::Closed(Holders(holders)),
            None | Some(None) => Standing::Closed(Holders(&[])),
        }
    }

    /// A pull begins. `present`: the id of the image that the node has under the same reference.
    pub(super) fn begin(&mut self, repository: &str, present: Option<&str>) -> std::io::Result<()> {
        let before = present.filter(|image| self.standing(image, repository) == Standing::Open);
        let mut intent = self.pulling.get(repository).cloned().unwrap_or_default();
        repository.clone_into(&mut intent.repository);
        intent.before.extend(before.map(str::to_owned));
        intent.running += 1;
        files::write(&self.intent_file(repository), &serde_json::to_vec(&intent)?)?;
        self.pulling.insert(repository.to_owned(), intent);
        Ok(())
    }

    /// A pull failed: it brought nothing.
    pub(super) fn failed(&mut self, repository: &str) -> std::io::Result<()> {
        self.end(repository, false)
    }

    /// Nobody waited for the end of a pull: what it brings, or has brought, is for nobody until it is pulled again.
    pub(super) fn given_up(&mut self, repository: &str) {
        if let Some(intent) = self.pulling.get_mut(repository) {
            intent.running = intent.running.saturating_sub(1);
            intent.left = true;
        }
    }

    /// A pull brought this image, by this credential or without one. `known_as`: all repositories of which the node
    /// has it. Those of an image that no pull brought before are as open as they were.
    pub(super) fn succeeded(
        &mut self,
        repository: &str,
        image: &str,
        known_as: &[String],
        by: Option<&Credential>,
    ) -> std::io::Result<()> {
        let record = self.pulled.entry(image.to_owned()).or_insert_with(|| {
            let before =
                known_as.iter().filter(|name| *name != repository && !self.pulling.contains_key(*name));
            let repositories = before.map(|name| (name.clone(), Access::Everyone)).collect();
            Record { image: image.to_owned(), repositories }
        });
        let access = record.repositories.entry(repository.to_owned()).or_insert(Access::Holders(Vec::new()));
        match (&mut *access, by) {
            (Access::Everyone, _) => {}
            (access, None) => *access = Access::Everyone,
            (Access::Holders(holders), Some(credential)) => {
                let own = Holder::of(credential);
                holders.retain(|holder| *holder != own);
                if holders.len() == HOLDERS_MAX {
                    holders.remove(0);
                }
                holders.push(own);
            }
        }
        let text = serde_json::to_vec(record)?;
        files::write(&self.dir.join("pulled").join(hex(image)), &text)?;
        self.end(repository, true)
    }

    fn end(&mut self, repository: &str, recorded: bool) -> std::io::Result<()> {
        let Some(intent) = self.pulling.get_mut(repository) else { return Ok(()) };
        intent.running = intent.running.saturating_sub(1);
        intent.left &= !recorded;
        if intent.running > 0 || intent.left {
            return Ok(());
        }
        self.pulling.remove(repository);
        files::remove(&self.intent_file(repository))
    }

    /// Forgets all images but those that are on the node.
    pub(super) fn retain(&mut self, is_present: impl Fn(&str) -> bool) -> std::io::Result<()> {
        let gone: Vec<String> = self.pulled.keys().filter(|image| !is_present(image)).cloned().collect();
        for image in gone {
            files::remove(&self.dir.join("pulled").join(hex(&image)))?;
            self.pulled.remove(&image);
        }
        Ok(())
    }

    fn intent_file(&self, repository: &str) -> PathBuf {
        self.dir.join("pulling").join(hex(repository))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = "r.example/app";
    const IMAGE: &str = "sha256:1";

    fn credential(secret: &str, password: &str) -> Credential {
        Credential {
            key: "r.example".into(),
            username: "u".into(),
            password: password.into(),
            secret: secret.into(),
        }
    }

    fn is_for(records: &Records, repository: &str, credentials: &[Credential]) -> bool {
        match records.standing(IMAGE, repository) {
            Standing::Open => true,
            Standing::Closed(holders) => holders.admit(credentials),
        }
    }

    #[test]
    fn a_pulled_image_is_for_those_who_could_pull_it_also_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let mut records = Records::open(root.path()).unwrap();
        assert!(is_for(&records, REPOSITORY, &[]), "it was there before");
        records.begin(REPOSITORY, None).unwrap();
        records.succeeded(REPOSITORY, IMAGE, &[], Some(&credential("s1", "right"))).unwrap();
        for records in [records, Records::open(root.path()).unwrap()] {
            for (credentials, expected, why) in [
                (vec![], false, "no credential"),
                (vec![credential("s2", "wrong")], false, "another one"),
                (vec![credential("s2", "wrong"), credential("s1", "new")], true, "the same secret, renewed"),
                (vec![credential("s3", "right")], true, "another secret with the same content"),
            ] {
                assert_eq!(is_for(&records, REPOSITORY, &credentials), expected, "{why}");
            }
            assert!(!is_for(&records, "r.example/other", &[credential("s1", "right")]), "another repository");
        }
        let mut records = Records::open(root.path()).unwrap();
        records.begin(REPOSITORY, None).unwrap();
        records.succeeded(REPOSITORY, IMAGE, &[], None).unwrap();
        assert!(is_for(&records, REPOSITORY, &[]), "it is public now");
        records.retain(|_| false).unwrap();
        assert_eq!(files::contents(&root.path().join("images/pulled")).unwrap().len(), 0);
    }

    #[test]
    fn what_was_there_before_stays_open_under_the_names_that_it_had() {
        let root = tempfile::tempdir().unwrap();
        let mut records = Records::open(root.path()).unwrap();
        records.begin(REPOSITORY, None).unwrap();
        let names = [REPOSITORY.to_owned(), "docker.io/library/app".to_owned()];
        records.succeeded(REPOSITORY, IMAGE, &names, Some(&credential("s1", "right"))).unwrap();
        assert!(is_for(&records, "docker.io/library/app", &[]));
        assert!(!is_for(&records, REPOSITORY, &[]));
    }

    #[test]
    fn an_image_of_a_pull_that_was_cut_off_is_for_nobody_until_it_is_pulled_again() {
        let root = tempfile::tempdir().unwrap();
        Records::open(root.path()).unwrap().begin(REPOSITORY, None).unwrap();
        let mut records = Records::open(root.path()).unwrap();
        assert!(!is_for(&records, REPOSITORY, &[credential("s1", "right")]));
        records.begin(REPOSITORY, None).unwrap();
        records.failed(REPOSITORY).unwrap();
        assert!(!is_for(&Records::open(root.path()).unwrap(), REPOSITORY, &[]), "a failure tells nothing");
        records.begin(REPOSITORY, None).unwrap();
        records.succeeded(REPOSITORY, IMAGE, &[], None).unwrap();
        assert!(is_for(&records, REPOSITORY, &[]));
        assert_eq!(files::contents(&root.path().join("images/pulling")).unwrap().len(), 0);
    }

    #[test]
    fn a_pull_that_was_given_up_closes_what_it_may_have_brought_and_not_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        let mut records = Records::open(root.path()).unwrap();
        records.begin(REPOSITORY, Some("sha256:0")).unwrap();
        assert_eq!(records.standing("sha256:0", REPOSITORY), Standing::Open, "while it runs");
        records.given_up(REPOSITORY);
        // What a pull that was given up has brought is there when the next one begins, and stays closed.
        records.begin(REPOSITORY, Some(IMAGE)).unwrap();
        records.given_up(REPOSITORY);
        for records in [records, Records::open(root.path()).unwrap()] {
            assert_eq!(records.standing("sha256:0", REPOSITORY), Standing::Open);
            assert!(!is_for(&records, REPOSITORY, &[credential("s1", "right")]));
        }
    }
}
