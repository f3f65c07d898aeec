//! A revoked key is refused once the revocation was heard of, whatever look-ups were under way.

use std::{net::SocketAddr, thread};

use forge_tests::{eventually, http};

use crate::{
    session::{SOON, Session},
    stage::Stage,
};

/// Look-ups count themselves; those of keys called `slow` end only when the advisory lock 1 is free, with what they read
/// before.
const LOOK_UPS: &str = r"
    CREATE SEQUENCE public.look_ups;
    GRANT ALL ON SEQUENCE public.look_ups TO PUBLIC;
    ALTER FUNCTION forge_private.authenticate_key(text) RENAME TO authenticate_key_at_once;
    CREATE FUNCTION forge_private.authenticate_key(key text) RETURNS jsonb
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
        found jsonb := forge_private.authenticate_key_at_once(key);
    BEGIN
        PERFORM nextval('public.look_ups');
        IF found ->> 'name' = 'slow' THEN
            PERFORM pg_advisory_xact_lock_shared(1);
        END IF;
        RETURN found;
    END
    $$;
    GRANT EXECUTE ON FUNCTION forge_private.authenticate_key(text) TO PUBLIC;";

fn status(address: SocketAddr, key: &str) -> u16 {
    http::request(address, "GET", "/v1/jobs", &[("x-api-key", key)], b"")
        .unwrap()
        .status
}

#[test]
fn a_look_up_under_way_does_not_bring_a_revoked_key_back() {
    let mut stage = Stage::new();
    stage.run(LOOK_UPS).unwrap();
    let slow: String = stage
        .value("SELECT forge.create_api_key('slow', role => 'forge_service')")
        .unwrap();
    let other = stage.key("forge_service");
    stage.start_nodes(1, |node| node);
    let address = stage.nodes[0].http();
    let look_ups = || stage.value::<i64>("SELECT last_value FROM public.look_ups");

    let holder = Session::open(&stage.database().url()).unwrap();
    holder.run("SELECT pg_advisory_lock(1)").unwrap();
    assert_eq!(status(address, &other), 200);
    let key = slow.clone();
    let asking = thread::spawn(move || status(address, &key));
    stage
        .until(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        )
        .unwrap();
    let before = look_ups().unwrap();
    stage.run("SELECT forge.revoke_api_key('slow')").unwrap();
    // The node has heard of it when it asks anew for a key that it knew.
    eventually(SOON, "the node to forget what it knew", || {
        assert_eq!(status(address, &other), 200);
        Ok((look_ups()? > before).then_some(()))
    })
    .unwrap();

    holder.run("SELECT pg_advisory_unlock(1)").unwrap();
    assert_eq!(asking.join().unwrap(), 200, "it was asked for before");
    assert_eq!(status(address, &slow), 401);
}
