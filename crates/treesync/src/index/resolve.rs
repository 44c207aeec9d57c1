//! From what was seen to what that means for the index: which directories moved, are new, or took the place of another.

use super::tables::{Place, ROOT, Writable};
use super::{At, Below, Found, Identity, IndexError, Observation};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A directory that gets a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Placement {
    /// It has rows already, elsewhere.
    Move { directory: u64, to: Place },
    /// It is new.
    Make { directory: u64, to: Place, identity: Identity },
}

impl Placement {
    pub fn directory(&self) -> u64 {
        match self {
            Self::Move { directory, .. } | Self::Make { directory, .. } => *directory,
        }
    }

    pub fn to(&self) -> &Place {
        match self {
            Self::Move { to, .. } | Self::Make { to, .. } => to,
        }
    }
}

/// Something that was seen, where.
pub(super) struct Present {
    pub at: At,
    pub place: Place,
    pub found: Found,
    /// Of a directory.
    pub directory: u64,
    pub is_forced: bool,
}

/// What is to be done to the index.
#[derive(Default)]
pub(super) struct Resolved {
    pub present: Vec<Present>,
    pub placements: Vec<Placement>,
    /// Directories that are another one now, but in the same place.
    pub takeovers: Vec<(u64, Identity)>,
    /// Places whose row goes, unless it is a directory that moves away.
    pub removals: BTreeSet<Place>,
    /// Seen at two places at once: it moved while it was read. To be looked at again.
    pub unsettled: Vec<At>,
}

struct Resolver<'a, 'txn> {
    tables: &'a Writable<'txn>,
    /// Known directories that were seen, and where.
    seen: HashSet<u64>,
    ids: HashMap<Identity, Option<u64>>,
    next_directory: u64,
    resolved: Resolved,
}

/// Decides what the observations mean. `next_directory` is the first number that is free, and is counted up.
pub(super) fn resolve(tables: &Writable, observations: Vec<Observation>, next_directory: &mut u64) -> Result<Resolved, IndexError> {
    let mut resolver =
        Resolver { tables, seen: HashSet::new(), ids: HashMap::new(), next_directory: *next_directory, resolved: Resolved::default() };
    let observations = resolver.without_unsettled(latest(observations))?;
    let names = names_of_listed(&observations);
    let mut waiting = observations;
    // Parents come before children as a rule, so that one round is enough; each further round places one level.
    loop {
        let before = waiting.len();
        let mut later = Vec::new();
        for observation in waiting {
            match resolver.place(&observation.at)? {
                Some(place) => resolver.resolve_one(place, observation, &names)?,
                None => later.push(observation),
            }
        }
        if later.is_empty() || later.len() == before {
            // In a directory that nobody placed: it is seen, with all its names, when it has a place.
            break;
        }
        waiting = later;
    }
    *next_directory = resolver.next_directory;
    resolver.drop_impossible()?;
    Ok(resolver.resolved)
}

/// Of a name that was seen more than once, the latest; in the place of the first, since parents come first.
fn latest(observations: Vec<Observation>) -> Vec<Observation> {
    let mut places: HashMap<At, usize> = HashMap::new();
    let mut kept: Vec<Observation> = Vec::with_capacity(observations.len());
    for mut observation in observations {
        match places.get(&observation.at) {
            None => {
                places.insert(observation.at.clone(), kept.len());
                kept.push(observation);
            }
            Some(place) => {
                let before = &mut kept[*place];
                observation.is_forced |= before.is_forced;
                if let (Some(found), Some(found_before)) = (&mut observation.found, &before.found)
                    && found.below == Below::Unsaid
                    && found.identity == found_before.identity
                {
                    found.below = found_before.below;
                }
                *before = observation;
            }
        }
    }
    kept
}

/// Names seen in each directory of which all names were seen.
fn names_of_listed(observations: &[Observation]) -> HashMap<Identity, HashSet<Vec<u8>>> {
    let listed = observations.iter().filter_map(|seen| seen.found.as_ref().filter(|found| found.below == Below::Listed)?.identity.clone());
    let mut names: HashMap<Identity, HashSet<Vec<u8>>> = listed.map(|identity| (identity, HashSet::new())).collect();
    for observation in observations {
        if let Some(names) = observation.at.parent.as_ref().and_then(|parent| names.get_mut(parent)) {
            names.insert(observation.at.name.clone());
        }
    }
    names
}

impl Resolver<'_, '_> {
    /// Drops what was seen at two places, and notes which known directories were seen.
    fn without_unsettled(&mut self, observations: Vec<Observation>) -> Result<Vec<Observation>, IndexError> {
        let mut counts: HashMap<Identity, BTreeSet<At>> = HashMap::new();
        for observation in &observations {
            if let Some(identity) = observation.found.as_ref().and_then(|found| found.identity.clone()) {
                counts.entry(identity).or_default().insert(observation.at.clone());
            }
        }
        for (identity, places) in &counts {
            if places.len() > 1 {
                self.resolved.unsettled.extend(places.iter().cloned());
            } else if let Some(directory) = self.tables.directory_of(&identity.0)? {
                self.seen.insert(directory);
                self.ids.insert(identity.clone(), Some(directory));
            }
        }
        let unsettled: HashSet<At> = self.resolved.unsettled.iter().cloned().collect();
        Ok(observations.into_iter().filter(|observation| !unsettled.contains(&observation.at)).collect())
    }

    /// The place of a name; none while its directory has none.
    fn place(&mut self, at: &At) -> Result<Option<Place>, IndexError> {
        let Some(parent) = &at.parent else { return Ok(Some(Place::root())) };
        let directory = match self.ids.get(parent) {
            Some(directory) => *directory,
            None => self.tables.directory_of(&parent.0)?,
        };
        Ok(directory.map(|directory| Place { directory, name: at.name.clone() }))
    }

    fn resolve_one(
        &mut self,
        place: Place,
        observation: Observation,
        names: &HashMap<Identity, HashSet<Vec<u8>>>,
    ) -> Result<(), IndexError> {
        let old = self.tables.row(&place)?;
        let Some(found) = observation.found else {
            if old.is_some() {
                self.resolved.removals.insert(place);
            }
            return Ok(());
        };
        let directory = if let Some(identity) = &found.identity {
            if found.below == Below::Unsaid && !self.is_known(&place, identity) {
                // It was known when it was seen, and its rows went meanwhile: without them it would be empty.
                self.resolved.unsettled.push(observation.at);
                return Ok(());
            }
            self.directory(&place, old.as_ref().map(|row| row.directory), identity, found.below != Below::Unsaid)
        } else {
            if old.is_some_and(|row| row.directory != 0) {
                self.resolved.removals.insert(place.clone());
            }
            0
        };
        if let Some(names) = found.identity.as_ref().and_then(|identity| names.get(identity)) {
            self.remove_others(directory, names)?;
        }
        self.resolved.present.push(Present { at: observation.at, place, found, directory, is_forced: observation.is_forced });
        Ok(())
    }

    fn is_known(&self, place: &Place, identity: &Identity) -> bool {
        *place == Place::root() || self.ids.get(identity).is_some_and(Option::is_some)
    }

    /// The number of the directory that was seen at a place where the index has `old` (0: no directory; none: nothing).
    fn directory(&mut self, place: &Place, old: Option<u64>, identity: &Identity, keeps_rows: bool) -> u64 {
        if *place == Place::root() {
            self.resolved.takeovers.push((ROOT, identity.clone()));
            self.ids.insert(identity.clone(), Some(ROOT));
            return ROOT;
        }
        let known = self.ids.get(identity).copied().flatten();
        if known.is_some_and(|known| known == old.unwrap_or(0)) {
            return known.unwrap_or(0);
        }
        let replaced = old.filter(|old| !self.seen.contains(old));
        if let Some(directory) = known {
            if replaced.is_some() {
                self.resolved.removals.insert(place.clone());
            }
            self.resolved.placements.push(Placement::Move { directory, to: place.clone() });
            return directory;
        }
        if let Some(directory) = replaced.filter(|directory| *directory != 0 && keeps_rows) {
            self.resolved.takeovers.push((directory, identity.clone()));
            self.ids.insert(identity.clone(), Some(directory));
            return directory;
        }
        if replaced.is_some() {
            self.resolved.removals.insert(place.clone());
        }
        let directory = self.next_directory;
        self.next_directory += 1;
        self.ids.insert(identity.clone(), Some(directory));
        self.resolved.placements.push(Placement::Make { directory, to: place.clone(), identity: identity.clone() });
        directory
    }

    /// Drops directories that would be below themselves, in what goes, or nowhere: something above them moved and was not
    /// seen yet.
    fn drop_impossible(&mut self) -> Result<(), IndexError> {
        loop {
            let targets: HashMap<u64, u64> = self.resolved.placements.iter().map(|one| (one.directory(), one.to().directory)).collect();
            let mut doomed = HashSet::new();
            for place in &self.resolved.removals {
                let directory = self.tables.row(place)?.map_or(0, |row| row.directory);
                if directory != 0 && !targets.contains_key(&directory) {
                    doomed.insert(directory);
                }
            }
            let mut impossible = HashSet::new();
            for directory in targets.keys() {
                if !self.reaches_root(*directory, &targets, &doomed)? {
                    impossible.insert(*directory);
                }
            }
            if impossible.is_empty() {
                return Ok(());
            }
            self.leave(impossible.into_iter().collect())?;
        }
    }

    /// Leaves directories where they are, if they are anywhere, and with them what was seen in their places: it would take the
    /// place of a directory that is not seen to have gone.
    fn leave(&mut self, mut left: Vec<u64>) -> Result<(), IndexError> {
        while let Some(directory) = left.pop() {
            let stays_at = self.tables.directory(directory)?.map(|record| record.place);
            if let Some(place) = &stays_at {
                self.resolved.removals.remove(place);
            }
            let is_left = |placement: &mut Placement| placement.directory() == directory || Some(placement.to()) == stays_at.as_ref();
            let dropped = self.resolved.placements.extract_if(.., is_left).map(|placement| placement.directory());
            left.extend(dropped.filter(|other| *other != directory));
            let is_left = |present: &mut Present| present.directory == directory || Some(&present.place) == stays_at.as_ref();
            let dropped = self.resolved.present.extract_if(.., is_left);
            self.resolved.unsettled.extend(dropped.map(|present| present.at));
        }
        Ok(())
    }

    /// Whether a directory is in the tree when all have moved and what goes is gone.
    fn reaches_root(&self, directory: u64, targets: &HashMap<u64, u64>, doomed: &HashSet<u64>) -> Result<bool, IndexError> {
        let mut at = directory;
        let mut passed = HashSet::new();
        while at != ROOT {
            if doomed.contains(&at) || !passed.insert(at) {
                return Ok(false);
            }
            at = match targets.get(&at) {
                Some(parent) => *parent,
                None => match self.tables.directory(at)? {
                    Some(record) => record.place.directory,
                    None => return Ok(false),
                },
            };
        }
        Ok(true)
    }

    /// All rows of a directory that are not among its names go.
    fn remove_others(&mut self, directory: u64, names: &HashSet<Vec<u8>>) -> Result<(), IndexError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.tables.children(directory, after.as_deref(), 1024)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let gone = page.into_iter().filter(|(name, _)| !names.contains(name));
            self.resolved.removals.extend(gone.map(|(name, _)| Place { directory, name }));
        }
    }
}
