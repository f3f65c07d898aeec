-- What all answers have in common: times, errors, and the checks that lead to them. Running this file twice changes
-- nothing.

SET ROLE conduit;

-- RealWorld's clients want a fraction of a second, always.
CREATE OR REPLACE FUNCTION conduit.iso(moment timestamptz) RETURNS text LANGUAGE sql STABLE
RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- 422 in RealWorld's shape, or null when there is nothing to say.
CREATE OR REPLACE FUNCTION conduit.invalid(errors text[]) RETURNS forge.http_response LANGUAGE sql STABLE
RETURN CASE WHEN errors <> '{}' THEN
    forge.http_response(422, body => jsonb_build_object('errors', jsonb_build_object('body', errors)))
END;

-- What is wrong with the texts of an object. `most` has each text's name and greatest number of characters; with
-- `partial` those that are missing are left out.
CREATE OR REPLACE FUNCTION conduit.text_errors(given jsonb, most jsonb, partial boolean DEFAULT false)
RETURNS text[] LANGUAGE sql IMMUTABLE
RETURN ARRAY(
    SELECT field || CASE
        WHEN value IS NULL OR jsonb_typeof(value) = 'null' THEN ' can''t be blank'
        WHEN jsonb_typeof(value) <> 'string' THEN ' must be a string'
        WHEN (value #>> '{}') !~ '\S' THEN ' can''t be blank'
        ELSE ' is too long (maximum is ' || greatest_length || ' characters)' END
    FROM (SELECT key AS field, value::int AS greatest_length, given -> key AS value FROM jsonb_each_text(most)) wanted
    WHERE CASE
        WHEN value IS NULL THEN NOT partial
        WHEN jsonb_typeof(value) <> 'string' THEN true
        ELSE (value #>> '{}') !~ '\S' OR length(value #>> '{}') > greatest_length END
    ORDER BY field);

GRANT EXECUTE ON FUNCTION conduit.iso(timestamptz), conduit.invalid(text[]), conduit.text_errors(jsonb, jsonb, boolean)
    TO forge_anon, forge_user;

RESET ROLE;
