//! Jobs go to the nodes that have their kind's capability.

use crate::stage::Stage;

#[test]
fn a_kind_runs_where_its_capability_is() {
    let mut stage = Stage::with_nodes(1);
    let media = stage
        .node_options("media")
        .set("FORGE_NODE__CAPABILITIES", "[\"media\"]");
    stage.start_node(media);
    stage
        .run(
            "CREATE FUNCTION public.ok() RETURNS void LANGUAGE sql AS '';
             SELECT forge.register_job('plain', 'sql:public.ok');
             SELECT forge.register_job('film', 'sql:public.ok', capability => 'media');
             SELECT forge.register_job('nobody', 'sql:public.ok', capability => 'quantum');
             SELECT forge.enqueue(k) FROM unnest('{plain,film,nobody}'::text[]) k, generate_series(1, 20);",
        )
        .unwrap();
    stage
        .until("SELECT count(*) = 40 FROM forge.jobs WHERE state = 'completed'")
        .unwrap();
    let places: String = stage
        .value(
            "SELECT string_agg(DISTINCT j.kind || ' on ' || n.name, ', ')
             FROM forge.jobs j JOIN forge.nodes n ON n.id = j.node_id WHERE j.state = 'completed'",
        )
        .unwrap();
    assert_eq!(places, "film on media, plain on n1");
    assert_eq!(
        stage
            .value::<i64>(
                "SELECT count(*) FROM forge.jobs WHERE state = 'ready' AND kind = 'nobody'"
            )
            .unwrap(),
        20
    );
}

#[test]
fn a_node_without_the_worker_role_runs_nothing() {
    let mut stage = Stage::new();
    let gateway = stage
        .node_options("door")
        .set("FORGE_NODE__ROLES", "[\"gateway\"]");
    stage.start_node(gateway);
    stage
        .run(
            "CREATE FUNCTION public.ok() RETURNS void LANGUAGE sql AS '';
             SELECT forge.register_job('ok', 'sql:public.ok'); SELECT forge.enqueue('ok');",
        )
        .unwrap();
    let worker = stage
        .node_options("hand")
        .set("FORGE_NODE__ROLES", "[\"worker\", \"scheduler\"]");
    stage.start_node(worker);
    let place = "SELECT n.name FROM forge.jobs j JOIN forge.nodes n ON n.id = j.node_id WHERE j.state = 'completed'";
    assert_eq!(stage.eventual::<String>(place).unwrap(), "hand");
    let roles =
        "SELECT string_agg(name || ' ' || roles::text, ', ' ORDER BY name) FROM forge.nodes";
    assert_eq!(
        stage.value::<String>(roles).unwrap(),
        "door {gateway}, hand {worker,scheduler}"
    );
}
