-- Plain PostgreSQL: months are attached as they come; what is outside of them goes here.
CREATE TABLE {schema}.value_default PARTITION OF {schema}.value DEFAULT;
CREATE TABLE {schema}.value_text_default PARTITION OF {schema}.value_text DEFAULT;
CREATE TABLE {schema}.wave_default PARTITION OF {schema}.wave DEFAULT;
CREATE TABLE {schema}.message_default PARTITION OF {schema}.message DEFAULT;
