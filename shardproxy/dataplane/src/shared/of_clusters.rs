//! What all workers share of a cluster, kept from one epoch to the next as long as it is wanted.

use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Of all clusters that have one, by their numbers.
pub struct OfClusters<T>(Mutex<Vec<Option<Arc<T>>>>);

impl<T> Default for OfClusters<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> OfClusters<T> {
    /// That of a cluster.
    pub fn of(&self, cluster: usize, is_wanted: bool) -> Option<Arc<T>> {
        let mut all = lock(&self.0);
        if all.len() <= cluster {
            all.resize_with(cluster + 1, || None);
        }
        let own = &mut all[cluster];
        if is_wanted {
            own.get_or_insert_default();
        } else {
            *own = None;
        }
        own.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Recent;

    #[test]
    fn a_cluster_keeps_its_own_from_epoch_to_epoch() {
        let recents = OfClusters::<Recent>::default();
        let first = recents.of(1, true).unwrap();
        assert!(Arc::ptr_eq(&first, &recents.of(1, true).unwrap()));
        assert!(!Arc::ptr_eq(&first, &recents.of(0, true).unwrap()));
        assert!(recents.of(1, false).is_none());
        assert!(!Arc::ptr_eq(&first, &recents.of(1, true).unwrap()));
    }
}
