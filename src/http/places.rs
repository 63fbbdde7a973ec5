//! Places that are counted, in all and for each holder, so that none takes what others need.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A number of places. A clone counts the same ones.
#[derive(Clone, Debug)]
pub struct Places<K: Eq + Hash>(Arc<Counted<K>>);

#[derive(Debug)]
struct Counted<K> {
    most: usize,
    most_each: usize,
    taken: Mutex<Taken<K>>,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    each: HashMap<K, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// The holder has as many as one may have.
    Each,
}

/// A place that somebody holds; given back when it goes away.
#[derive(Debug)]
pub struct Place<K: Eq + Hash + Clone> {
    counted: Arc<Counted<K>>,
    holder: K,
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// So many places in all, and for one holder.
    pub fn new(most: usize, most_each: usize) -> Self {
        let taken = Mutex::new(Taken { all: 0, each: HashMap::new() });
        Self(Arc::new(Counted { most, most_each, taken, refused: AtomicU64::new(0) }))
    }

    /// Takes a place.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn take(&self, holder: K) -> Result<Place<K>, Full> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.each.get(&holder).copied().unwrap_or(0);
        let full = match () {
            () if own >= self.0.most_each => Some(Full::Each),
            () if taken.all >= self.0.most => Some(Full::All),
            () => None,
        };
        if let Some(full) = full {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return Err(full);
        }
        taken.all += 1;
        taken.each.insert(holder.clone(), own + 1);
        Ok(Place { counted: Arc::clone(&self.0), holder })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// How often there was none.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.counted.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.each.get_mut(&self.holder) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(taken.each.remove(&self.holder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_leaves_places_to_others_and_gives_back_what_it_took() {
        let places = Places::new(3, 2);
        let first = places.take("a").unwrap();
        let _second = places.take("a").unwrap();
        assert_eq!(places.take("a").unwrap_err(), Full::Each);
        let other = places.take("b").unwrap();
        assert_eq!((places.take("c").unwrap_err(), places.taken(), places.refused()), (Full::All, 3, 2));
        drop((first, other));
        assert_eq!(places.0.taken.lock().unwrap().each.len(), 1, "holders of nothing are forgotten");
        places.take("a").unwrap();
    }
}
