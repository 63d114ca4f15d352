//! Who a node is: a small file kept twice in its data directory.
//!
//! ```text
//! directory format  u16   what lies beside this file; see DIRECTORY_FORMAT
//! cluster           u128  0 while the node belongs to none
//! node              u64   0 while the node belongs to none
//! incarnation       u64   the life that was begun last
//! counts            u8    1 once it has let in another node, else 0: then the next start goes on
//!                         with the same life
//! name              u16 length, bytes
//! founders          u16, then each: node u64, name, peer address, client address
//!                         (u16 length and bytes each)
//! peers             u16, then each: node u64, incarnation u64
//! ```
//!
//! All numbers are little-endian; version and checksum are those of the mirrored file.
//!
//! In directories of format 2 there is no `counts`: the incarnation is the last one that counts, in
//! its earlier layout.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use trilith_env::{Disk, Env};
use trilith_peer::{Found, Founder, Membership, NODE_NAME_BYTES_MAX};
use trilith_storage::mirrored::{MirroredError, MirroredFile, MirroredKind};
use trilith_types::{
    ClusterId, Incarnation, NodeId,
    planted::{self, Bug},
};

use crate::layout::groups_dir;

/// The files `node.a` and `node.b` in the data directory.
pub const IDENTITY: MirroredKind = MirroredKind {
    stem: "node",
    magic: *b"TRILNODE",
    version: 1,
};

/// The arrangement of a data directory that this program reads and writes: journal, votes, groups,
/// and lives that have a number of their own. The arrangement without an identity file, one log a
/// partition beside a catalog, was the first.
pub const DIRECTORY_FORMAT: u16 = 3;

/// The arrangement before that: the same, but for the lives. The first start makes the current one
/// of it.
const DIRECTORY_FORMAT_COUNTED: u16 = 2;

/// What an identity file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster and its number there; `None` until it was founded.
    pub member: Option<Membership>,
    /// Which life this is: the one after the last that counts.
    pub incarnation: Incarnation,
    /// Its name.
    pub name: String,
    /// The cluster's first nodes: the first configuration of its controller group.
    pub founders: Vec<Founder>,
    /// The latest incarnation of each other node that was ever let in.
    pub peers: BTreeMap<NodeId, Incarnation>,
}

/// Why a node's identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file's own error.
    #[error("the node's identity: {0}")]
    File(#[from] MirroredError),
    /// The directory was made by a version of Trilith that knew no clusters.
    #[error(
        "{dir} holds topics of an earlier format ({found}), which this version does not read; \
         read them with the version that wrote them (trilith consume) and produce them anew, or \
         choose an empty directory with --data"
    )]
    EarlierFormat {
        /// The data directory.
        dir: String,
        /// What was found there.
        found: String,
    },
    /// There is data and nothing that says whose it is.
    #[error(
        "{dir} holds {found}, but neither node.a nor node.b is there and whole; restore one of them from a copy, \
         or choose an empty directory with --data"
    )]
    Missing {
        /// The data directory.
        dir: String,
        /// What was found there.
        found: String,
    },
    /// There are groups and no file of the journal that has what they acknowledged last.
    #[error(
        "{dir} has groups, and no file of the journal beside them: what this node has acknowledged \
         last is gone; give it its *.journal files back, or put a new node in its place (trilith \
         cluster replace)"
    )]
    NoJournal {
        /// The data directory.
        dir: String,
    },
    /// The directory is arranged as a later version does it.
    #[error(
        "{dir} has format {found}; this version reads formats {DIRECTORY_FORMAT_COUNTED} and \
         {DIRECTORY_FORMAT}: start a version on it that is as new as the one that used it last"
    )]
    LaterFormat {
        /// The data directory.
        dir: String,
        /// Its format.
        found: u16,
    },
    /// The directory belongs to another node.
    #[error(
        "{dir} belongs to the node {found:?}, not to {asked:?}; start it under its own name, or \
         choose another directory with --data"
    )]
    OtherName {
        /// The data directory.
        dir: String,
        /// The name by the file.
        found: String,
        /// The name by the configuration.
        asked: String,
    },
    /// The name cannot be one.
    #[error(
        "a node's name has 1 to {NODE_NAME_BYTES_MAX} bytes of a-z, A-Z, 0-9, '.', '_', '-'; {name:?} is none"
    )]
    Name {
        /// What was given.
        name: String,
    },
}

/// Reads the identity in a data directory without changing anything: for inspection. `None` when there
/// is none.
///
/// # Errors
/// Neither copy can be read.
pub fn inspect_identity(
    disk: &Arc<dyn Disk>,
    dir: &Path,
) -> Result<Option<Identity>, IdentityError> {
    let loaded = MirroredFile::load(disk, dir, IDENTITY)?;
    let read = |content: Vec<u8>| Ok(existing(&content, dir, None)?.0);
    loaded.content.map(read).transpose()
}

/// The identity with its file.
#[derive(Debug)]
pub(crate) struct IdentityFile {
    file: MirroredFile,
    identity: Identity,
    /// Whether this life counts, by the file: it has let in another node.
    counts: bool,
}

impl IdentityFile {
    /// Reads the identity in the data directory `dir`, which exists: this life is the one after
    /// the last that [counts](Self::admit_peer). Makes a new identity, of no cluster, in an empty
    /// directory.
    ///
    /// A life is noted before anybody can hear of it, and while it does not count the next start is
    /// the same life: another node may have noted it all the same, and would take a new one with
    /// the same number of starts for a copy.
    pub(crate) fn start(env: &Env, dir: &Path, name: Option<&str>) -> Result<Self, IdentityError> {
        let loaded = MirroredFile::load(&env.disk, dir, IDENTITY)?;
        let (mut identity, counted) = match &loaded.content {
            Some(content) => {
                let existing = existing(content, dir, name)?;
                refuse_groups_without_journal(&env.disk, dir)?;
                existing
            }
            None => {
                refuse_data_without_identity(&env.disk, dir)?;
                let new = Identity::new(name.unwrap_or(DEFAULT_NAME), env.rng.next_u64())?;
                // The life before the first one is over.
                (new, true)
            }
        };
        if counted {
            identity.incarnation = identity.incarnation.next(env.rng.next_u64());
        }
        let counts = planted::is_on(Bug::EveryStartCounts);
        let mut file = Self {
            file: loaded.file,
            identity,
            counts,
        };
        // Also where nothing has changed: one of the two copies may be lost.
        file.store(file.identity.clone(), counts)?;
        Ok(file)
    }

    pub(crate) const fn get(&self) -> &Identity {
        &self.identity
    }

    /// Makes the node a member of a cluster, durably: one of its founders, or one that is not among
    /// the nodes that it notes as founders because it joins them.
    pub(crate) fn found(&mut self, found: &Found, node: NodeId) -> Result<(), IdentityError> {
        let cluster = found.cluster;
        let founded = Identity {
            member: Some(Membership { cluster, node }),
            founders: found
                .members
                .iter()
                .filter(|member| !found.joins || member.node != node)
                .cloned()
                .collect(),
            ..self.identity.clone()
        };
        self.store(founded, self.counts)
    }

    /// Notes durably that another node is let in, so that an earlier life of it, or another under
    /// its name, never is; and that this life counts, since it is about to be heard. A life that
    /// nobody lets in does not count: an old copy of a directory, which its peers refuse, would
    /// else reach the number that they know if only it were started often enough.
    pub(crate) fn admit_peer(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Result<(), IdentityError> {
        if self.counts && self.identity.peers.get(&node) == Some(&incarnation) {
            return Ok(());
        }
        let mut noted = self.identity.clone();
        noted.peers.insert(node, incarnation);
        self.store(noted, true)
    }

    fn store(&mut self, identity: Identity, counts: bool) -> Result<(), IdentityError> {
        self.file.store(&identity.encode(counts))?;
        (self.identity, self.counts) = (identity, counts);
        Ok(())
    }
}

/// The name of a node that was given none.
pub const DEFAULT_NAME: &str = "n1";

/// What a file says, and whether the life that was begun last counts.
fn existing(
    content: &[u8],
    dir: &Path,
    name: Option<&str>,
) -> Result<(Identity, bool), IdentityError> {
    let shown = || dir.display().to_string();
    let format = content.first_chunk().map_or(0, |b| u16::from_le_bytes(*b));
    if format > DIRECTORY_FORMAT {
        return Err(IdentityError::LaterFormat {
            dir: shown(),
            found: format,
        });
    }
    let (identity, counts) = Identity::decode(content).ok_or_else(|| {
        let [path, _] = MirroredFile::paths(dir, IDENTITY);
        MirroredError::Content { path }
    })?;
    match name {
        Some(name) if name != identity.name => Err(IdentityError::OtherName {
            dir: shown(),
            found: identity.name,
            asked: name.to_owned(),
        }),
        _ => Ok((identity, counts)),
    }
}

/// A node that has forgotten what it acknowledged must not vote as if it had never done so. A
/// group's directory is made after the journal has its first file.
fn refuse_groups_without_journal(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), IdentityError> {
    let list = |path: &Path| match disk.list(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|source| MirroredError::Io {
            what: "list",
            path: path.to_owned(),
            source,
        }),
    };
    let has_groups = !list(&groups_dir(dir))?.is_empty();
    let is_journal = |path: &Path| path.extension().is_some_and(|kind| kind == "journal");
    if has_groups && !list(dir)?.iter().any(|entry| is_journal(&entry.path)) {
        let dir = dir.display().to_string();
        return Err(IdentityError::NoJournal { dir });
    }
    Ok(())
}

/// A directory with data and without an identity is one of an earlier format, or lost its file.
fn refuse_data_without_identity(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), IdentityError> {
    let io = |source| MirroredError::Io {
        what: "list",
        path: dir.to_owned(),
        source,
    };
    let names: Vec<String> = disk
        .list(dir)
        .map_err(io)?
        .iter()
        .filter_map(|entry| Some(entry.path.file_name()?.to_str()?.to_owned()))
        .collect();
    let dir = dir.display().to_string();
    let found = |candidates: &[&str]| {
        names
            .iter()
            .find(|n| candidates.contains(&n.as_str()))
            .cloned()
    };
    if let Some(found) = found(&["catalog.a", "catalog.b", "topics"]) {
        return Err(IdentityError::EarlierFormat { dir, found });
    }
    if let Some(found) = found(&["journal", "votes.a", "votes.b", "groups"]) {
        return Err(IdentityError::Missing { dir, found });
    }
    Ok(())
}

impl Identity {
    /// Whether the node founded its cluster, alone or with others; else it joined one that was
    /// there.
    #[must_use]
    pub fn is_founder(&self) -> bool {
        let me = self.member.map(|member| member.node);
        self.founders.iter().any(|founder| Some(founder.node) == me)
    }

    /// Whether it founded a cluster of itself alone.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.founders.len() == 1 && self.is_founder()
    }

    fn new(name: &str, directory: u64) -> Result<Self, IdentityError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > NODE_NAME_BYTES_MAX || !name.chars().all(is_allowed) {
            let name = name.to_owned();
            return Err(IdentityError::Name { name });
        }
        Ok(Self {
            member: None,
            incarnation: Incarnation::unstarted(directory),
            name: name.to_owned(),
            founders: Vec::new(),
            peers: BTreeMap::new(),
        })
    }

    fn encode(&self, counts: bool) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&DIRECTORY_FORMAT.to_le_bytes());
        let (cluster, node) = self
            .member
            .map_or((0, 0), |member| (member.cluster.0, member.node.0));
        out.extend_from_slice(&cluster.to_le_bytes());
        out.extend_from_slice(&node.to_le_bytes());
        out.extend_from_slice(&self.incarnation.0.to_le_bytes());
        out.push(counts.into());
        put_text(&mut out, &self.name);
        out.extend_from_slice(&(self.founders.len() as u16).to_le_bytes());
        for founder in &self.founders {
            out.extend_from_slice(&founder.node.0.to_le_bytes());
            put_text(&mut out, &founder.name);
            put_text(&mut out, &founder.peer_address);
            put_text(&mut out, &founder.client_address);
        }
        out.extend_from_slice(&(self.peers.len() as u16).to_le_bytes());
        for (node, incarnation) in &self.peers {
            out.extend_from_slice(&node.0.to_le_bytes());
            out.extend_from_slice(&incarnation.0.to_le_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<(Self, bool)> {
        let mut input = Input(bytes);
        let format = input.u16()?;
        let cluster = ClusterId(u128::from_le_bytes(input.array()?));
        let node = NodeId(input.u64()?);
        let incarnation = Incarnation(input.u64()?);
        let counts = match format {
            DIRECTORY_FORMAT_COUNTED => true,
            DIRECTORY_FORMAT => input.flag()?,
            _ => return None,
        };
        let name = input.text()?;
        let founders: Option<Vec<Founder>> = (0..input.u16()?).map(|_| input.founder()).collect();
        let founders = founders?;
        let peers: Option<BTreeMap<_, _>> = (0..input.u16()?).map(|_| input.peer()).collect();
        let peers = peers?;
        let identity = Self {
            member: (cluster.0 != 0).then_some(Membership { cluster, node }),
            incarnation,
            name,
            founders,
            peers,
        };
        input.0.is_empty().then_some((identity, counts))
    }
}

/// Feeds arbitrary bytes to the decoder of what a node remembers of itself: it is read or refused,
/// and what is read is written and read again as the same.
pub fn fuzz_identity(data: &[u8]) {
    if let Some((identity, counts)) = Identity::decode(data) {
        let again = Identity::decode(&identity.encode(counts));
        assert_eq!(again, Some((identity, counts)));
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.array()? {
            [0] => Some(false),
            [1] => Some(true),
            [_] => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let len = self.u16()?;
        let (text, rest) = self.0.split_at_checked(len.into())?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn peer(&mut self) -> Option<(NodeId, Incarnation)> {
        Some((NodeId(self.u64()?), Incarnation(self.u64()?)))
    }

    fn founder(&mut self) -> Option<Founder> {
        Some(Founder {
            node: NodeId(self.u64()?),
            name: self.text()?,
            peer_address: self.text()?,
            client_address: self.text()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::{collection::vec, option, prelude::*};
    use trilith_env::sim::{SimClock, SimDisk, SimRng};
    use trilith_types::{Succession, TimestampMs};

    use super::*;

    fn env(disk: &SimDisk) -> Env {
        disk.create_dir_all(Path::new("/data")).unwrap();
        Env {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(TimestampMs(0))),
            // Another one at every start, on copies of one disk, too.
            rng: Arc::new(SimRng::new(STARTS.fetch_add(1, Ordering::Relaxed))),
        }
    }

    static STARTS: AtomicU64 = AtomicU64::new(0);

    fn peer(start: u64) -> Incarnation {
        Incarnation::new(start, 9, start)
    }

    fn restart(disk: &SimDisk) -> IdentityFile {
        disk.power_cut();
        disk.restart();
        start(disk, None).unwrap()
    }

    /// Starts a node that is let in.
    fn live(disk: &SimDisk) -> Incarnation {
        let mut file = restart(disk);
        file.admit_peer(NodeId(1), peer(1)).unwrap();
        file.get().incarnation
    }

    fn start(disk: &SimDisk, name: Option<&str>) -> Result<IdentityFile, IdentityError> {
        IdentityFile::start(&env(disk), Path::new("/data"), name)
    }

    fn founding() -> Found {
        let founder = |node: u64| Founder {
            node: NodeId(node),
            name: format!("n{node}"),
            peer_address: format!("10.0.0.{node}:7401"),
            client_address: String::new(),
        };
        Found {
            joins: false,
            cluster: ClusterId(0x1234_5678_9abc_def0_1122_3344_5566_7788),
            members: vec![founder(1), founder(2)],
        }
    }

    proptest! {
        #[test]
        fn an_identity_comes_back_as_it_was_and_wrong_bytes_are_refused(
            member in option::of((1..u128::MAX, any::<u64>())),
            incarnation: u64,
            names in vec("[a-z0-9.:é]{0,40}", 1..4),
            peers in vec((any::<u64>(), any::<u64>()), 0..4),
            counts: bool,
            wrong in option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let founder = |(node, text): (usize, &String)| Founder {
                node: NodeId(node as u64),
                name: text.clone(),
                peer_address: text.clone(),
                client_address: String::new(),
            };
            let peers = peers.into_iter().map(|(node, life)| (NodeId(node), Incarnation(life)));
            let identity = Identity {
                member: member.map(|(cluster, node)| Membership {
                    cluster: ClusterId(cluster),
                    node: NodeId(node),
                }),
                incarnation: Incarnation(incarnation),
                name: names[0].clone(),
                founders: names.iter().enumerate().map(founder).collect(),
                peers: peers.collect(),
            };
            let mut bytes = identity.encode(counts);
            prop_assert_eq!(Identity::decode(&bytes), Some((identity, counts)));
            if let Some((at, byte)) = wrong {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            fuzz_identity(&bytes);
            bytes.pop();
            prop_assert_eq!(Identity::decode(&bytes).map(|(_, counts)| counts), None);
        }
    }

    #[test]
    fn a_start_counts_from_when_another_node_is_let_in() {
        let disk = SimDisk::new(1);
        let first = start(&disk, Some("n2")).unwrap().get().clone();
        assert_eq!((first.incarnation.start(), first.member), (1, None));
        let mut again = restart(&disk);
        assert_eq!(again.get(), &first, "it goes on with the same life");
        again.admit_peer(NodeId(1), peer(1)).unwrap();
        assert_eq!(again.get().incarnation, first.incarnation);
        let second = restart(&disk).get().clone();
        assert_eq!(second.incarnation.start(), 2);
        let follows = first.incarnation.succession(second.incarnation);
        assert_eq!(follows, Succession::Later);
        assert_eq!(second.name, "n2");
        assert_eq!(second.peers.get(&NodeId(1)), Some(&peer(1)));
        assert_eq!(restart(&disk).get(), &second);
    }

    #[test]
    fn no_number_of_refused_starts_makes_an_old_copy_a_new_life() {
        let disk = SimDisk::new(1);
        live(&disk);
        let copy = disk.fork(2);
        live(&disk);
        let known = live(&disk);
        for _ in 0..5 {
            let refused = restart(&copy).get().incarnation;
            assert_eq!(known.succession(refused), Succession::Earlier);
        }
    }

    #[test]
    fn a_copy_that_is_started_after_the_original_is_another_life_of_the_same_number() {
        let disk = SimDisk::new(1);
        live(&disk);
        let before_it_counts = {
            drop(restart(&disk));
            disk.fork(2)
        };
        live(&disk);
        let while_it_counts = disk.fork(3);
        let known = live(&disk);
        let shown = |copy: &SimDisk| known.succession(restart(copy).get().incarnation);
        assert_eq!(shown(&before_it_counts), Succession::Earlier);
        assert_eq!(shown(&while_it_counts), Succession::Copy);
        assert_eq!(shown(&while_it_counts), Succession::Copy);
        let own = live(&disk);
        assert_eq!(known.succession(own), Succession::Later);
    }

    /// As the version before this layout wrote it: the last start that counts, in the high half, and
    /// the directory in the low one.
    #[test]
    fn a_directory_of_the_format_before_goes_on_with_the_start_after_the_last_that_counts() {
        let disk = SimDisk::new(1);
        let earlier = |start: u64| Incarnation(start << 32 | 0xdead_beef);
        let known = Identity {
            member: None,
            incarnation: earlier(4),
            name: "n2".to_owned(),
            founders: founding().members,
            peers: BTreeMap::from([(NodeId(1), Incarnation(7 << 32 | 9))]),
        };
        let mut content = known.encode(true);
        content[..2].copy_from_slice(&2_u16.to_le_bytes());
        assert_eq!(content.remove(34), 1, "it had no flag");
        let env = env(&disk);
        let loaded = MirroredFile::load(&env.disk, Path::new("/data"), IDENTITY);
        loaded.unwrap().file.store(&content).unwrap();
        let first = restart(&disk).get().clone();
        assert_eq!(first.incarnation.start(), 5);
        // Of the start that was under way the others may have heard.
        for known in [earlier(4), earlier(5)] {
            assert_eq!(known.succession(first.incarnation), Succession::Later);
        }
        let others = Identity {
            incarnation: first.incarnation,
            ..known
        };
        assert_eq!(first, others);
        assert_eq!(restart(&disk).get(), &first, "it is of this format now");
        assert_eq!(live(&disk), first.incarnation);
        assert_eq!(restart(&disk).get().incarnation.start(), 6);
    }

    #[test]
    fn a_founding_is_kept() {
        let disk = SimDisk::new(1);
        let mut file = start(&disk, Some("n2")).unwrap();
        file.found(&founding(), NodeId(2)).unwrap();
        disk.power_cut();
        disk.restart();
        let found = start(&disk, Some("n2")).unwrap().get().clone();
        let member = found.member.unwrap();
        assert_eq!(
            (member.cluster, member.node),
            (founding().cluster, NodeId(2))
        );
        assert_eq!(found.founders, founding().members);
    }

    #[test]
    fn a_node_keeps_its_name() {
        let disk = SimDisk::new(1);
        start(&disk, Some("a")).unwrap();
        let error = start(&disk, Some("b")).unwrap_err().to_string();
        assert!(
            error.contains("belongs to the node \"a\", not to \"b\""),
            "{error}"
        );
        assert!(matches!(
            start(&SimDisk::new(1), Some("a b")),
            Err(IdentityError::Name { .. })
        ));
    }

    #[test]
    fn a_directory_of_the_earlier_format_is_refused_and_so_is_one_without_its_identity() {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new("/data/topics")).unwrap();
        let error = start(&disk, None).unwrap_err().to_string();
        assert!(error.contains("earlier format (topics)"), "{error}");
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new("/data/journal")).unwrap();
        let error = start(&disk, None).unwrap_err();
        assert!(matches!(error, IdentityError::Missing { .. }), "{error}");
    }

    #[test]
    fn groups_without_a_journal_are_refused() {
        let disk = SimDisk::new(1);
        start(&disk, None).unwrap();
        start(&disk, None).expect("it has acknowledged nothing yet");
        disk.create_dir_all(Path::new("/data/groups/1.0")).unwrap();
        let error = start(&disk, None).unwrap_err();
        assert!(matches!(error, IdentityError::NoJournal { .. }), "{error}");
        let journal = Path::new("/data/000003.journal");
        drop(
            disk.open(journal, trilith_env::OpenMode::CreateNew)
                .unwrap(),
        );
        start(&disk, None).unwrap();
    }

    #[test]
    fn a_later_format_and_nonsense_are_refused() {
        for (content, expected) in [
            (&[4, 0, 9][..], "has format 4"),
            (&[3, 0, 9], "not valid"),
            (&[2, 0, 9], "not valid"),
        ] {
            let disk = SimDisk::new(1);
            let env = env(&disk);
            let mut file = MirroredFile::load(&env.disk, Path::new("/data"), IDENTITY)
                .unwrap()
                .file;
            file.store(content).unwrap();
            let error = start(&disk, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
