//! A client that takes seeded random steps and keeps the model of its own repository.
//!
//! Each client writes a repository of its own, so that its model is exact, but all push the same contents and mount
//! from each other, so that they meet in every row and object of a content. Now and then they all write one shared
//! repository too, of which only what holds for every repository is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rreg_oci::Digest;

use super::manifests::IMAGE;
use super::model::{Content, Presence, Repository, Upload};
use super::random::Random;
use super::target::{Answer, Fail, Push, Target};

pub(super) const SHARED: &str = "durability/shared";

/// See the module's documentation.
pub(super) struct Client<T> {
    pub(super) target: T,
    pub(super) random: Random,
    pub(super) contents: Arc<Vec<Content>>,
    /// Repositories of all clients.
    pub(super) names: Arc<Vec<String>>,
    pub(super) repository: Repository,
    /// Steps taken.
    pub(super) steps: u64,
    /// Set when the server is about to die.
    pub(super) stop: Arc<AtomicBool>,
}

/// All of them at the same time, each so many steps.
pub(super) async fn run_all<T: Target>(clients: Vec<Client<T>>, steps: usize) -> Vec<Client<T>> {
    let running: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                client.run(steps).await;
                client
            })
        })
        .collect();
    let mut clients = Vec::new();
    for client in running {
        clients.push(client.await.unwrap());
    }
    clients
}

impl<T: Target> Client<T> {
    /// Takes up to `steps` steps.
    pub(super) async fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            self.step().await;
            self.steps += 1;
        }
    }

    async fn step(&mut self) {
        match self.random.below(22) {
            0..=2 => self.begin().await,
            3..=6 => self.go_on().await,
            7 => self.cancel().await,
            8..=10 => self.post().await,
            11 => self.mount().await,
            12..=14 => self.push_image().await,
            15 => self.push_index().await,
            16 => self.tag_again().await,
            17 => self.delete_tag().await,
            18 => self.delete_manifest().await,
            19 => self.delete_blob().await,
            20 => self.read().await,
            _ => self.shared().await,
        }
    }

    pub(super) fn any_content(&mut self) -> (usize, Content) {
        let content = self.random.below(self.contents.len());
        (content, self.contents[content].clone())
    }

    pub(super) fn any_tag(&mut self) -> String {
        format!("t{}", self.random.below(6))
    }

    pub(super) fn unexpected(&self, what: &str, fail: Fail) -> ! {
        panic!("{what} in {}: {fail:?}", self.repository.name)
    }

    fn blob_may_be_there(&mut self, content: usize) {
        let presence = self.repository.blob(content).or_yes();
        self.repository.blobs.insert(content, presence);
    }

    async fn begin(&mut self) {
        let (content, what) = self.any_content();
        // Sometimes another algorithm than the content's, which has everything hashed again at the end.
        let sha512 = what.is_sha512() != self.random.one_in(8);
        match self.target.begin(&self.repository.name, sha512).await {
            Ok(id) => {
                let upload = Upload { id, content, acknowledged: 0, sent: 0, may_be_gone: false };
                self.repository.uploads.push(upload);
            }
            Err(Fail::Lost) => {}
            Err(fail) => self.unexpected("begin", fail),
        }
    }

    /// One more request of an upload: a chunk, a broken chunk, the commit, or a commit with the wrong digest.
    async fn go_on(&mut self) {
        if self.repository.uploads.is_empty() {
            return self.begin().await;
        }
        let place = self.random.below(self.repository.uploads.len());
        let mut upload = self.repository.uploads.swap_remove(place);
        match self.target.status(&self.repository.name, &upload.id).await {
            Ok(at) => {
                assert!(
                    (upload.acknowledged..=upload.sent).contains(&at),
                    "upload {} stands at {at}, must be in {}..={}",
                    upload.id,
                    upload.acknowledged,
                    upload.sent
                );
                upload.acknowledged = at;
                if self.advance(&mut upload, at).await {
                    self.repository.uploads.push(upload);
                }
            }
            Err(Fail::Refused(404)) if upload.may_be_gone => {}
            Err(Fail::Lost) => self.repository.uploads.push(upload),
            Err(fail) => self.unexpected("status", fail),
        }
    }

    /// Whether the session goes on.
    async fn advance(&mut self, upload: &mut Upload, at: u64) -> bool {
        let content = self.contents[upload.content].clone();
        let rest = content.bytes.slice(usize::try_from(at).unwrap()..);
        if rest.len() < 4 || self.random.one_in(4) {
            return self.finish(upload, rest).await;
        }
        let length = 2 + self.random.below(rest.len() - 2);
        let chunk = rest.slice(..length);
        if length > 4 && self.random.one_in(4) {
            let cut = 2 + self.random.below(length - 2);
            upload.sent = upload.sent.max(at + cut as u64);
            let _ = self.target.append(&self.repository.name, &upload.id, at, chunk, Some(cut)).await;
            return true;
        }
        upload.sent = upload.sent.max(at + length as u64);
        match self.target.append(&self.repository.name, &upload.id, at, chunk, None).await {
            Ok(size) => {
                assert_eq!(size, at + length as u64, "after a chunk of {length} at {at}");
                (upload.acknowledged, upload.sent) = (size, size);
                true
            }
            // What a broken chunk had brought was entered meanwhile.
            Err(Fail::Lost | Fail::Refused(416)) => true,
            Err(Fail::Refused(404)) if upload.may_be_gone => false,
            Err(fail) => self.unexpected("append", fail),
        }
    }

    async fn finish(&mut self, upload: &mut Upload, rest: Bytes) -> bool {
        let digest = self.contents[upload.content].digest;
        let name = self.repository.name.clone();
        if self.random.one_in(3) {
            let wrong = Digest::of(digest.algorithm(), &self.random.bytes(9));
            return match self.target.commit(&name, &upload.id, rest, &wrong).await {
                Ok(()) => panic!("{} was committed under a digest that is not its own", upload.id),
                Err(Fail::Refused(404)) => !upload.may_be_gone,
                Err(Fail::Lost | Fail::Refused(400 | 416)) => true,
                Err(fail) => self.unexpected("wrong commit", fail),
            };
        }
        match self.target.commit(&name, &upload.id, rest, &digest).await {
            Ok(()) => {
                self.repository.blobs.insert(upload.content, Presence::Yes);
                false
            }
            Err(Fail::Lost) => {
                self.blob_may_be_there(upload.content);
                upload.may_be_gone = true;
                true
            }
            // A broken chunk was entered between reading the session and closing it.
            Err(Fail::Refused(404)) => !upload.may_be_gone,
            Err(Fail::Refused(400 | 416)) => true,
            Err(fail) => self.unexpected("commit", fail),
        }
    }

    async fn cancel(&mut self) {
        if self.repository.uploads.is_empty() {
            return;
        }
        let place = self.random.below(self.repository.uploads.len());
        let mut upload = self.repository.uploads.swap_remove(place);
        match self.target.cancel(&self.repository.name, &upload.id).await {
            Ok(()) => {}
            Err(Fail::Refused(404)) if upload.may_be_gone => {}
            Err(Fail::Lost) => {
                upload.may_be_gone = true;
                self.repository.uploads.push(upload);
            }
            Err(fail) => self.unexpected("cancel", fail),
        }
    }

    pub(super) async fn post(&mut self) {
        let (content, what) = self.any_content();
        if self.random.one_in(6) {
            let wrong = Digest::sha256(&self.random.bytes(9));
            match self.target.post(&self.repository.name, &wrong, what.bytes).await {
                Ok(()) => panic!("content was stored under a digest that is not its own"),
                Err(Fail::Lost | Fail::Refused(400)) => return,
                Err(fail) => self.unexpected("wrong post", fail),
            }
        }
        match self.target.post(&self.repository.name, &what.digest, what.bytes).await {
            Ok(()) => drop(self.repository.blobs.insert(content, Presence::Yes)),
            Err(Fail::Lost) => self.blob_may_be_there(content),
            Err(fail) => self.unexpected("post", fail),
        }
    }

    async fn mount(&mut self) {
        let (content, what) = self.any_content();
        let names = self.names.clone();
        let from = if self.random.one_in(3) { None } else { self.random.pick(&names) };
        match self.target.mount(&self.repository.name, &what.digest, from.map(String::as_str)).await {
            Ok(true) => drop(self.repository.blobs.insert(content, Presence::Yes)),
            Ok(false) => {}
            Err(Fail::Lost) => self.blob_may_be_there(content),
            Err(fail) => self.unexpected("mount", fail),
        }
    }

    async fn delete_blob(&mut self) {
        let (content, what) = self.any_content();
        let (before, used) = (self.repository.blob(content), self.repository.blob_in_use(content));
        let after = match self.target.delete_blob(&self.repository.name, &what.digest).await {
            Ok(()) => {
                assert!(
                    before != Presence::No && used != Presence::Yes,
                    "{} could not be deleted",
                    what.digest
                );
                Presence::No
            }
            Err(Fail::Refused(404)) => {
                assert_ne!(before, Presence::Yes, "{} must be there", what.digest);
                Presence::No
            }
            Err(Fail::Refused(409)) => {
                assert_ne!(used, Presence::No, "nothing refers to {}", what.digest);
                Presence::Yes
            }
            Err(Fail::Lost) => before.or_no(),
            Err(fail) => self.unexpected("blob delete", fail),
        };
        self.repository.blobs.insert(content, after);
    }

    async fn read(&mut self) {
        let (content, what) = self.any_content();
        let expected = self.repository.blob(content);
        match self.target.blob(&self.repository.name, &what.digest).await {
            Ok(bytes) => {
                assert_ne!(expected, Presence::No, "{} must not be there", what.digest);
                assert!(bytes == what.bytes, "{} has other bytes", what.digest);
            }
            Err(Fail::Refused(404)) => assert_ne!(expected, Presence::Yes, "{} must be there", what.digest),
            Err(Fail::Lost) => {}
            Err(fail) => self.unexpected("read", fail),
        }
    }

    /// Something in the repository that everybody writes: any definite answer will do.
    async fn shared(&mut self) {
        let (_, what) = self.any_content();
        let tag = self.any_tag();
        let target = self.target.clone();
        let _: Answer<()> = match self.random.below(5) {
            0 => target.post(SHARED, &what.digest, what.bytes).await,
            1 => target.delete_blob(SHARED, &what.digest).await,
            2 => target.delete_manifest(SHARED, &tag).await,
            _ => {
                let (a, b) = (self.any_content().0, self.any_content().0);
                for content in [a, b] {
                    let what = self.contents[content].clone();
                    let _ = target.post(SHARED, &what.digest, what.bytes).await;
                }
                let manifest = self.manifest(IMAGE, vec![a, b], Vec::new(), None);
                let (digest, body) = (manifest.digest, manifest.body);
                let answer =
                    target.put_manifest(SHARED, Push { media_type: IMAGE, digest, body, tags: &[tag] }).await;
                if self.random.one_in(2) {
                    let _ = target.delete_manifest(SHARED, &digest.to_string()).await;
                }
                answer
            }
        };
    }
}
